package org.rsmapi.clj;

import clojure.lang.Counted;
import clojure.lang.IFn;
import clojure.lang.ILookup;
import clojure.lang.IReduce;
import clojure.lang.ISeq;
import clojure.lang.Indexed;
import clojure.lang.Numbers;
import clojure.lang.RT;
import clojure.lang.Reduced;
import clojure.lang.Seqable;
import clojure.lang.Sequential;
import java.util.Iterator;
import java.util.NoSuchElementException;
import org.rsmapi.RsmError;
import org.rsmapi.RsmException;
import org.rsmapi.SegmentMemory;
import org.rsmapi.Strided;

/**
 * One number field of all elements of an array in memory, as a counted, indexed and reducible collection. Nothing is cached: every look
 * reads the memory.
 *
 * <p>{@code reduce} neither boxes nor allocates for each element if the function is primitive: one of two doubles to a double, or of
 * two longs to a long. {@code clojure.core/+} is summed in a loop of its own, with the same result. Numbers are read ahead in pieces of
 * at most {@value #PIECE}.
 */
public final class Column implements Counted, Indexed, ILookup, IReduce, Seqable, Sequential, Iterable<Object> {
    private static final int PIECE = 512;
    private static final Object PLUS = RT.var("clojure.core", "+").deref();

    private final SegmentMemory memory;
    private final Scalar scalar;
    private final long offset;
    private final long stride;
    private final int count;

    /** A column: of {@code count} numbers, {@code stride} bytes apart, of which the first is at {@code offset}. */
    public Column(SegmentMemory memory, Scalar scalar, long offset, long stride, int count) {
        this.memory = memory;
        this.scalar = scalar;
        this.offset = offset;
        this.stride = stride;
        this.count = count;
    }

    /** What the numbers are. */
    public Scalar scalar() {
        return scalar;
    }

    @Override
    public int count() {
        return count;
    }

    private Object get(int i) {
        return scalar.get(memory, offset + i * stride);
    }

    @Override
    public Object nth(int i) {
        if (i < 0 || i >= count) {
            throw RsmException.of(RsmError.BAD_OFFSET, "column").with("argument", "index").with("index", i).with("count", count)
                .hint("the index is one from 0 to the count less one");
        }
        return get(i);
    }

    @Override
    public Object nth(int i, Object notFound) {
        return i < 0 || i >= count ? notFound : get(i);
    }

    @Override
    public Object valAt(Object key) {
        return valAt(key, null);
    }

    @Override
    public Object valAt(Object key, Object notFound) {
        Long i = Coerce.exactly(key);
        return i == null || i < 0 || i >= count ? notFound : get(i.intValue());
    }

    @Override
    public Iterator<Object> iterator() {
        return new Iterator<>() {
            private int next;

            @Override
            public boolean hasNext() {
                return next < count;
            }

            @Override
            public Object next() {
                if (next >= count) {
                    throw new NoSuchElementException();
                }
                return get(next++);
            }
        };
    }

    @Override
    public ISeq seq() {
        return count == 0 ? null : RT.chunkIteratorSeq(iterator());
    }

    /** All numbers: a new array of doubles, or of longs. */
    public Object values() {
        Strided.checkHeap(count);
        if (scalar.isFloating()) {
            double[] values = new double[count];
            scalar.gather(memory, offset, stride, values, count);
            return values;
        }
        long[] values = new long[count];
        scalar.gather(memory, offset, stride, values, count);
        return values;
    }

    // ---- reduce ----

    @Override
    public Object reduce(IFn f) {
        if (count == 0) {
            return f.invoke();
        }
        return reduce(f, get(0), 1);
    }

    @Override
    public Object reduce(IFn f, Object init) {
        return count == 0 ? init : reduce(f, init, 0);
    }

    private Object reduce(IFn f, Object init, int from) {
        if (scalar.isFloating()) {
            if (f == PLUS && (init instanceof Double || init instanceof Long)) {
                return sumDoubles(((Number) init).doubleValue(), from);
            }
            if (f instanceof IFn.DDD && init instanceof Number) {
                return reduceDoubles((IFn.DDD) f, ((Number) init).doubleValue(), from);
            }
            return reduceBoxedDoubles(f, init, from);
        }
        if (f == PLUS && init instanceof Long && !scalar.isUnsignedLong()) {
            return sumLongs((Long) init, from);
        }
        if (f instanceof IFn.LLL && init instanceof Long) {
            return reduceLongs((IFn.LLL) f, (Long) init, from);
        }
        return reduceBoxedLongs(f, init, from);
    }

    private long at(int i) {
        return offset + i * stride;
    }

    private Object sumDoubles(double init, int from) {
        if (scalar.isPlain()) {
            return Strided.sumDoubles(memory, at(from), stride, count - from, init);
        }
        double sum = init;
        double[] piece = new double[Math.min(count, PIECE)];
        for (int i = from, n; i < count; i += n) {
            n = next(i, piece);
            for (int k = 0; k < n; k++) {
                sum += piece[k];
            }
        }
        return sum;
    }

    private Object sumLongs(long init, int from) {
        if (scalar.isPlain()) {
            return Strided.sumLongs(memory, at(from), stride, count - from, init);
        }
        long sum = init;
        long[] piece = new long[Math.min(count, PIECE)];
        for (int i = from, n; i < count; i += n) {
            n = next(i, piece);
            for (int k = 0; k < n; k++) {
                sum = Numbers.add(sum, piece[k]);
            }
        }
        return sum;
    }

    private Object reduceDoubles(IFn.DDD f, double init, int from) {
        double value = init;
        double[] piece = new double[Math.min(count, PIECE)];
        for (int i = from, n; i < count; i += n) {
            n = next(i, piece);
            for (int k = 0; k < n; k++) {
                value = f.invokePrim(value, piece[k]);
            }
        }
        return value;
    }

    private Object reduceLongs(IFn.LLL f, long init, int from) {
        long value = init;
        long[] piece = new long[Math.min(count, PIECE)];
        for (int i = from, n; i < count; i += n) {
            n = next(i, piece);
            for (int k = 0; k < n; k++) {
                value = f.invokePrim(value, piece[k]);
            }
        }
        return value;
    }

    private Object reduceBoxedDoubles(IFn f, Object init, int from) {
        Object value = init;
        double[] piece = new double[Math.min(count, PIECE)];
        for (int i = from, n; i < count; i += n) {
            n = next(i, piece);
            for (int k = 0; k < n; k++) {
                value = f.invoke(value, piece[k]);
                if (value instanceof Reduced) {
                    return ((Reduced) value).deref();
                }
            }
        }
        return value;
    }

    private Object reduceBoxedLongs(IFn f, Object init, int from) {
        Object value = init;
        long[] piece = new long[Math.min(count, PIECE)];
        for (int i = from, n; i < count; i += n) {
            n = next(i, piece);
            for (int k = 0; k < n; k++) {
                value = f.invoke(value, scalar.valueOf(piece[k]));
                if (value instanceof Reduced) {
                    return ((Reduced) value).deref();
                }
            }
        }
        return value;
    }

    private int next(int i, double[] piece) {
        int n = Math.min(count - i, piece.length);
        scalar.gather(memory, at(i), stride, piece, n);
        return n;
    }

    private int next(int i, long[] piece) {
        int n = Math.min(count - i, piece.length);
        scalar.gather(memory, at(i), stride, piece, n);
        return n;
    }

    /** Says what the column is, without a look at the memory. */
    @Override
    public String toString() {
        return "#<Column of " + count + " " + scalar + ">";
    }
}
