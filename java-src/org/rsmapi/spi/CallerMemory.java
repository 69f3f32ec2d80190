package org.rsmapi.spi;

import java.util.List;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.sys.Vm;

/** Whether memory that a caller wants to export can be: what {@link Interconnect#adopt} and {@link ExportedMemory#rebind} ask first. */
public final class CallerMemory {
    private static final boolean FOREIGN_ALLOWED = "allow".equals(System.getProperty("rsmapi.foreign-memory"));

    private CallerMemory() {}

    /**
     * Checks a page-aligned range.
     *
     * @param owner  by which the library knows the range to be the caller's; null for an address only
     * @throws RsmException BAD_ADDR (not mapped, or a file mapped shared), PERM_DENIED (not writable), BAD_ADDR (not known)
     */
    public static void check(String op, long address, long length, Object owner) {
        if (owner instanceof Allocated) {
            return; // to ask the kernel would take time that grows with the number of mappings
        }
        if (address < 0 || address > Long.MAX_VALUE - length) {
            throw failure(op, RsmError.BAD_ADDR, address, length, "no such addresses");
        }
        if (owner == null && Vm.isOwn(address, length)) {
            throw failure(op, RsmError.BAD_ADDR, address, length,
                "the library has mapped this memory: it belongs to a segment or a mapping, or has been freed");
        }
        List<Vm.Region> regions = Vm.regions(address, address + length);
        long covered = address;
        boolean writable = true;
        for (Vm.Region region : regions) {
            if (region.start() > covered) {
                break;
            }
            if (region.sharedFile()) {
                throw failure(op, RsmError.BAD_ADDR, address, length, "a file is mapped shared there")
                    .with("occupied-by", region.toString());
            }
            writable &= region.writable();
            covered = region.end();
        }
        if (covered < address + length) {
            throw failure(op, RsmError.BAD_ADDR, address, length, "the range is not wholly mapped");
        }
        if (!writable) {
            throw failure(op, RsmError.PERM_DENIED, address, length, "the memory is not writable");
        }
        if (owner == null && !FOREIGN_ALLOWED) {
            throw failure(op, RsmError.BAD_ADDR, address, length, "the library cannot tell that this memory is yours and not the"
                + " JVM's: use LocalMemory.allocate or a direct ByteBuffer, or start the JVM with -Drsmapi.foreign-memory=allow");
        }
    }

    private static RsmException failure(String op, RsmError error, long address, long length, String hint) {
        return RsmException.of(error, op).with("address", address).with("length", length).hint(hint);
    }
}
