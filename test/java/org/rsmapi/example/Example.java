package org.rsmapi.example;

import java.nio.charset.StandardCharsets;
import java.util.List;
import org.rsmapi.AccessEntry;
import org.rsmapi.Controller;
import org.rsmapi.ExportSegment;
import org.rsmapi.ImportSegment;
import org.rsmapi.Mapping;
import org.rsmapi.Permission;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;

/**
 * Remote shared memory from Java. Both sides are in one process here, for the reader's sake; between two processes each has its
 * own half of the code, and the segment id is what they agree on.
 *
 * <pre>
 *   java --enable-native-access=ALL-UNNAMED -cp ... org.rsmapi.example.Example
 * </pre>
 */
public final class Example {
    private static final int OWNER_MAY_READ_AND_WRITE = 0600;
    private static final long GREETING = 16;

    private Example() {}

    public static void main(String[] args) {
        try (Controller controller = Controller.get("loopback");
                ExportSegment exported = controller.exportCreate(16 * Controller.pageSize())) {
            AccessEntry access = new AccessEntry(controller.nodeId(), OWNER_MAY_READ_AND_WRITE);
            long id = exported.publish(0, List.of(access));
            print("exported", exported);

            try (ImportSegment imported = controller.importConnect(controller.nodeId(), id, Permission.RDWR)) {
                print("imported", imported);
                share(exported, imported);
                showErrors(imported);
                revoke(exported, imported);
            }
            Runnable connect = () -> controller.importConnect(controller.nodeId(), id, Permission.READ);
            print("connect again", refusal(RsmError.SEG_NOT_PUBLISHED, connect));
        }
        System.out.println("every step was right");
    }

    /** What one side writes, the other reads. */
    private static void share(ExportSegment exported, ImportSegment imported) {
        try (Mapping mapping = imported.map(Permission.RDWR, 0, Controller.pageSize())) {
            print("mapped", mapping);

            // Plain writes first, then a release: who reads the long with acquire sees the text as well.
            byte[] text = "hello".getBytes(StandardCharsets.UTF_8);
            exported.putBytes(GREETING, text, 0, text.length);
            exported.putLongRelease(0, text.length);

            long length = mapping.getLongAcquire(0);
            String read = new String(mapping.getBytes(GREETING, length), StandardCharsets.UTF_8);
            check("the importer reads", "hello", read);

            check("compare and set", true, mapping.compareAndSetLong(8, 0, 42));
            check("the exporter reads", 42L, exported.getLongVolatile(8));
        }
    }

    /** A failure says what went wrong as an enum, a number and data. */
    private static void showErrors(ImportSegment imported) {
        RsmException misaligned = refusal(RsmError.BAD_MEM_ALIGNMENT, () -> imported.map(Permission.READ, 100, 10));
        check("the number of the RSMAPI", 17, misaligned.code());
        check("the operation", "import-map", misaligned.op());
        check("the offset", 100L, misaligned.data().get("offset"));
        check("the category", RsmError.Category.INCORRECT, misaligned.error().category());
        print("misaligned", misaligned);

        try (Mapping window = imported.map(Permission.READ, Controller.pageSize(), Controller.pageSize())) {
            print("read-only", refusal(RsmError.PERM_DENIED, () -> window.putLong(0, 1)));
            print("past the end", refusal(RsmError.BAD_OFFSET, () -> window.getLong(window.size() - 4)));
        }
    }

    /** Unpublishing takes the memory away from the importer; the exporter keeps it. */
    private static void revoke(ExportSegment exported, ImportSegment imported) {
        try (Mapping mapping = imported.map()) {
            exported.unpublish();
            print("revoked", refusal(RsmError.CONN_ABORTED, () -> mapping.getLong(8)));
        }
        check("aborted", true, imported.isAborted());
        check("the exporter still reads", 42L, exported.getLong(8));
    }

    private static RsmException refusal(RsmError expected, Runnable call) {
        try {
            call.run();
        } catch (RsmException e) {
            check("refused", expected, e.error());
            return e;
        }
        throw new IllegalStateException("nothing was refused, expected " + expected);
    }

    private static void check(String what, Object expected, Object came) {
        if (!expected.equals(came)) {
            throw new IllegalStateException(what + ": expected " + expected + ", came " + came);
        }
        print("ok", what + ": " + came);
    }

    private static void print(String what, Object value) {
        System.out.println(what + ": " + (value instanceof Throwable ? ((Throwable) value).getMessage() : value));
    }
}
