package org.rsmapi.bench;

import clojure.lang.IFn;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.rsmapi.Barrier;
import org.rsmapi.Segment;

/** What one thread does with the barrier and the signals of a segment, from Java. */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
public class Handles {
    private static final Duration LONG = Duration.ofSeconds(10);

    Shared shared;
    Barrier barrier;

    /** Makes the segment and its barrier. */
    @Setup
    public void open() {
        shared = new Shared(1);
        barrier = shared.segment.initBarrier();
    }

    /** Ends the segment. */
    @TearDown
    public void close() {
        shared.close();
    }

    /** Opens the barrier and closes it. */
    @Benchmark
    public void barrier() {
        barrier.open();
        barrier.closeBarrier();
    }

    /** Posts an event and takes it. */
    @Benchmark
    public void signal() {
        ((Segment) shared.segment).signalPost(0);
        shared.export.signalWait(LONG);
    }

    /** The same from Clojure. */
    @State(Scope.Thread)
    public static class Clojure {
        IFn barrier;
        IFn signal;

        /** Loads the functions. */
        @Setup
        public void load() {
            barrier = Loops.function("barrier", IFn.class);
            signal = Loops.function("signal", IFn.class);
        }
    }

    /** Opens the barrier and closes it, from Clojure. */
    @Benchmark
    public Object barrierClojure(Clojure loops) {
        return loops.barrier.invoke(barrier);
    }

    /** Posts an event and takes it, from Clojure. */
    @Benchmark
    public Object signalClojure(Clojure loops) {
        return loops.signal.invoke(shared.segment, shared.export);
    }
}
