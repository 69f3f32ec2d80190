package org.rsmapi.bench;

import clojure.lang.IFn;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;
import org.rsmapi.Mapping;

/** The library, from Clojure: by hand, and by what rsmapi.layout offers. The loops are those of rsmapi.bench.loops. */
public class RecordsClojure extends Records {
    private Shared shared;
    private Mapping mapping;
    private Object quotes;
    private Object prices;
    private IFn.OOD byHand;
    private IFn.OOD byAccessor;
    private IFn.OOD byView;
    private IFn.OOD byColumn;
    private IFn.OLD sumByHand;
    private IFn sumColumn;

    @Setup
    public void open() {
        shared = new Shared(size);
        mapping = shared.mapped();
        quotes = Loops.function("quotes", IFn.class).invoke(mapping);
        prices = Loops.function("prices", IFn.class).invoke(mapping);
        byHand = Loops.function("prices-by-hand", IFn.OOD.class);
        byAccessor = Loops.function("prices-by-accessor", IFn.OOD.class);
        byView = Loops.function("prices-by-view", IFn.OOD.class);
        byColumn = Loops.function("prices-by-column", IFn.OOD.class);
        sumByHand = Loops.function("sum-by-hand", IFn.OLD.class);
        sumColumn = Loops.function("sum-of-column", IFn.class);
    }

    @TearDown
    public void close() {
        shared.close();
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public double fieldByHand() {
        return byHand.invokePrim(mapping, indices);
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public double fieldByAccessor() {
        return byAccessor.invokePrim(mapping, indices);
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public double fieldByView() {
        return byView.invokePrim(quotes, indices);
    }

    @Benchmark
    @OperationsPerInvocation(COUNT)
    public double fieldByColumn() {
        return byColumn.invokePrim(prices, indices);
    }

    @Benchmark
    public double sumByHand() {
        return sumByHand.invokePrim(mapping, (long) size / RECORD);
    }

    @Benchmark
    public Object sumOfColumn() {
        return sumColumn.invoke(mapping);
    }
}
