package org.rsmapi.bench;

import org.rsmapi.Controller;
import org.rsmapi.ExportSegment;
import org.rsmapi.ImportSegment;
import org.rsmapi.Mapping;
import org.rsmapi.Permission;

/** The shortest life of a process: {@code Start nothing}, {@code jna} or {@code mapping}. Timed from outside. */
public final class Start {
    private Start() {
    }

    public static void main(String[] args) {
        switch (args[0]) {
            case "nothing":
                break;
            case "jna":
                if (com.sun.jna.Native.POINTER_SIZE != Long.BYTES) {
                    System.exit(1);
                }
                break;
            default:
                mapping();
        }
        Runtime.getRuntime().halt(0);
    }

    private static void mapping() {
        try (Controller controller = Controller.get("loopback"); ExportSegment export = controller.exportCreate(4096)) {
            export.publish(0, null);
            try (ImportSegment segment = controller.importConnect(controller.nodeId(), export.segmentId(), Permission.RDWR);
                 Mapping mapping = segment.map()) {
                mapping.putLong(0, 1);
            }
        }
    }
}
