package org.rsmapi.bench;

import java.time.Duration;
import org.rsmapi.Controller;
import org.rsmapi.ExportSegment;
import org.rsmapi.ImportSegment;
import org.rsmapi.Permission;
import org.rsmapi.RsmException;

/** A signal to another process and one back: {@code SignalTrip seconds}. */
public final class SignalTrip {
    private static final Duration LONG = Duration.ofSeconds(10);

    private SignalTrip() {
    }

    public static void main(String[] args) throws Exception {
        if (args[0].equals("echo")) {
            echo(Long.parseLong(args[1]));
            return;
        }
        try (Controller controller = Controller.get("loopback"); ExportSegment export = controller.exportCreate(4096)) {
            export.publish(0, null);
            try (Peer peer = new Peer(SignalTrip.class, "echo", String.valueOf(export.segmentId()))) {
                Samples.measure("trip", Double.parseDouble(args[0]), count -> {
                    for (long i = 0; i < count; i++) {
                        export.signalPost(0);
                        export.signalWait(LONG);
                    }
                });
            }
        }
    }

    private static void echo(long id) {
        Peer.endWithInput();
        try (Controller controller = Controller.get("loopback");
             ImportSegment segment = controller.importConnect(controller.nodeId(), id, Permission.RDWR)) {
            System.out.println("ready");
            while (true) {
                segment.signalWait(null);
                segment.signalPost(0);
            }
        } catch (RsmException e) {
            return; // the exporter has ended
        }
    }
}
