package org.rsmapi.bench;

import java.util.List;
import org.rsmapi.AccessEntry;
import org.rsmapi.Controller;
import org.rsmapi.ExportSegment;

/** Exports a segment to node 2: {@code HostExporter bytes}. It prints {@code ready} and the id, and answers each signal with one. */
public final class HostExporter {
    private HostExporter() {
    }

    public static void main(String[] args) {
        Peer.endWithInput();
        try (Controller controller = Controller.get("net0"); ExportSegment export = controller.exportCreate(Long.parseLong(args[0]))) {
            export.publish(0, List.of(new AccessEntry(2, 0666)));
            System.out.println("ready " + export.segmentId());
            while (true) {
                export.signalWait(null);
                export.signalPost(0);
            }
        }
    }
}
