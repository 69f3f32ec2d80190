package org.rsmapi.loopback;

import java.nio.charset.StandardCharsets;
import org.rsmapi.mem.Engine;
import org.rsmapi.sys.Fd;
import org.rsmapi.sys.MemFd;
import org.rsmapi.sys.Vm;

/** The text of a layout that a publication carries: a memory file, of which importers get a descriptor to read. */
final class LayoutText {
    private static final long MAX_FILE_BYTES = 1L << 20;

    private LayoutText() {}

    /** A descriptor, to read only, of a new file that starts with the text. */
    static Fd file(byte[] text) {
        long pages = Vm.wholePages(text.length);
        try (Fd file = MemFd.create("rsmapi-layout", pages)) {
            long address = Vm.mapShared(file, pages, Vm.PROT_READ | Vm.PROT_WRITE, 0, 0);
            try {
                Engine.ENGINE.copyFromArray(text, 0, address, text.length);
            } finally {
                Vm.unmap(address, pages);
            }
            return MemFd.reopenReadOnly(file);
        }
    }

    /** What is wrong with a descriptor that a peer sent as a text of so many bytes, or null if nothing is. */
    static String objection(Fd file, int bytes) {
        String objection = MemFd.objection(file, Vm.wholePages(bytes), false);
        return objection == null && MemFd.size(file) > MAX_FILE_BYTES ? "longer than a layout is" : objection;
    }

    /** The text in a file that has been checked. */
    static String read(Fd file, int bytes) {
        byte[] text = new byte[bytes];
        long pages = Vm.wholePages(bytes);
        long address = Vm.mapShared(file, pages, Vm.PROT_READ, 0, 0);
        try {
            Engine.ENGINE.copyToArray(address, text, 0, bytes);
        } finally {
            Vm.unmap(address, pages);
        }
        return new String(text, StandardCharsets.UTF_8);
    }
}
