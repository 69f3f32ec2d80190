package org.rsmapi.bench;

import org.rsmapi.Controller;
import org.rsmapi.ExportSegment;
import org.rsmapi.ImportSegment;
import org.rsmapi.Permission;

/** From create to destroy, each step timed by itself; exporter and importer in one process: {@code Lifecycle seconds}. */
public final class Lifecycle {
    /** Until the JIT compiler has done with code that runs a few thousand times in a second. */
    private static final double WARM_UP_SECONDS = 4;
    private static final double SHORT = 0.1;

    private static final String[] STEPS = {"create", "publish", "connect", "disconnect", "destroy"};

    private Lifecycle() {
    }

    public static void main(String[] args) {
        double seconds = Double.parseDouble(args[0]);
        try (Controller controller = Controller.get("loopback")) {
            lives(controller, seconds < SHORT ? seconds : WARM_UP_SECONDS);
            for (int i = 0; i < Samples.COUNT; i++) {
                double[] means = lives(controller, seconds / Samples.COUNT);
                for (int step = 0; step < STEPS.length; step++) {
                    Samples.print(STEPS[step], means[step]);
                }
            }
        }
    }

    private static double[] lives(Controller controller, double seconds) {
        long[] sums = new long[STEPS.length];
        int count = 0;
        long end = System.nanoTime() + (long) (seconds * 1e9);
        do {
            life(controller, sums);
            count++;
        } while (System.nanoTime() < end);
        double[] means = new double[STEPS.length];
        for (int step = 0; step < STEPS.length; step++) {
            means[step] = (double) sums[step] / count;
        }
        return means;
    }

    private static void life(Controller controller, long[] sums) {
        long t0 = System.nanoTime();
        ExportSegment export = controller.exportCreate(4096);
        long t1 = System.nanoTime();
        export.publish(0, null);
        long t2 = System.nanoTime();
        ImportSegment segment = controller.importConnect(controller.nodeId(), export.segmentId(), Permission.RDWR);
        long t3 = System.nanoTime();
        segment.disconnect();
        long t4 = System.nanoTime();
        export.destroy();
        long t5 = System.nanoTime();
        sums[0] += t1 - t0;
        sums[1] += t2 - t1;
        sums[2] += t3 - t2;
        sums[3] += t4 - t3;
        sums[4] += t5 - t4;
    }
}
