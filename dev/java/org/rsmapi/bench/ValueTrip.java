package org.rsmapi.bench;

import org.rsmapi.Controller;
import org.rsmapi.ExportSegment;
import org.rsmapi.ImportSegment;
import org.rsmapi.Mapping;
import org.rsmapi.Permission;

/** A number to another process and back through mapped memory, both spinning: {@code ValueTrip seconds}. */
public final class ValueTrip {
    /** On cache lines of their own, and not neighbours. */
    private static final int THERE = 0;
    private static final int BACK = 256;

    private ValueTrip() {
    }

    public static void main(String[] args) throws Exception {
        if (args[0].equals("echo")) {
            echo(Long.parseLong(args[1]));
            return;
        }
        try (Controller controller = Controller.get("loopback"); ExportSegment export = controller.exportCreate(4096)) {
            export.publish(0, null);
            try (Peer peer = new Peer(ValueTrip.class, "echo", String.valueOf(export.segmentId()))) {
                long[] last = {0};
                Samples.measure("trip", Double.parseDouble(args[0]), count -> last[0] = trips(export, last[0], count));
                export.putLongRelease(THERE, -1);
            }
        }
    }

    private static long trips(ExportSegment memory, long last, long count) {
        long end = last + count;
        for (long n = last + 1; n <= end; n++) {
            memory.putLongRelease(THERE, n);
            while (memory.getLongAcquire(BACK) != n) {
                Thread.onSpinWait();
            }
        }
        return end;
    }

    private static void echo(long id) {
        Peer.endWithInput();
        try (Controller controller = Controller.get("loopback");
             ImportSegment segment = controller.importConnect(controller.nodeId(), id, Permission.RDWR);
             Mapping memory = segment.map()) {
            System.out.println("ready");
            long seen = 0;
            while (seen >= 0) {
                long now = memory.getLongAcquire(THERE);
                if (now != seen) {
                    seen = now;
                    memory.putLongRelease(BACK, now);
                } else {
                    Thread.onSpinWait();
                }
            }
        }
    }
}
