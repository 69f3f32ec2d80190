package org.rsmapi;

import clojure.lang.APersistentMap;
import clojure.lang.ExceptionInfo;
import clojure.lang.IMapEntry;
import clojure.lang.IPersistentCollection;
import clojure.lang.IPersistentMap;
import clojure.lang.ISeq;
import clojure.lang.Keyword;
import clojure.lang.PersistentArrayMap;
import clojure.lang.PersistentVector;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.RandomAccess;
import java.util.regex.Pattern;

/**
 * A failed RSMAPI call: an {@link RsmError}, the operation, and the arguments and facts that explain it.
 *
 * <p>In Java, {@link #error()} and {@link #data()} tell everything; in Clojure {@code (ex-data e)} is the same as a map
 * of {@code :rsm/...} keywords that prints and reads back as EDN. Keys of {@link #data()}: {@code offset}, {@code length},
 * {@code size} (bytes), {@code perm}, {@code node}, {@code segment-id}, {@code errno} (where a system call failed),
 * {@code hint} (what to do) and others named by the call.
 *
 * <p><b>The stack trace</b> starts at the caller of the library, so that tools that show the first frame, such as a Clojure REPL, name
 * the caller's code. With the system property {@code rsmapi.stack-traces} set to {@code full} the frames of the library are kept, as
 * they always are for {@link RsmError#INTERNAL_ERROR}. Only the JDK's {@link Throwable#printStackTrace()} of another exception, of which
 * this is the cause, may show them as well.
 *
 * <p><b>A lower-level exception</b> that made the call fail is in {@link #getSuppressed()} and is not the {@link #getCause() cause}: a
 * Clojure REPL reports the last cause only, and not the exception that was thrown.
 */
public final class RsmException extends ExceptionInfo {
    private static final long serialVersionUID = 2L;

    private static final int LONGEST_LIST = 64;
    private static final int DEEPEST_LIST = 4;
    /** Characters of a fact that the message has; the data has all. */
    private static final int LONGEST_TEXT = 200;
    private static final Pattern READABLE_KEYWORD =
        Pattern.compile(":([a-zA-Z*!_?<>=.+-][\\w*!?<>=.+-]*/)?[a-zA-Z*!_?<>=.+-][\\w*!?<>=.+-]*");
    private static final String HINT = "hint";
    private static final List<String> NAMES_OF_ITS_OWN = List.of("error", "op", "code");

    private final RsmError error;
    private final String op;
    private final LinkedHashMap<String, Object> facts = new LinkedHashMap<>();
    /** What {@link #getData()} gives, from the first call until the next fact. */
    private transient volatile IPersistentMap asMap;
    /** Guarded by this exception's monitor. */
    private boolean trimmed;

    private RsmException(RsmError error, String op, View view) {
        super(null, view);
        view.of = this;
        this.error = error == null ? RsmError.INTERNAL_ERROR : error; // a report of a failure must not fail itself
        this.op = op == null ? "unknown" : op;
    }

    /** A failure of operation {@code op} (such as {@code import-map}); facts are added by {@link #with}. */
    public static RsmException of(RsmError error, String op) {
        return new RsmException(error, op, new View());
    }

    /**
     * Adds one fact and returns this. Values are numbers, strings, booleans, enums, lists of those (with random access, and the
     * first 64 items) or null; anything else is kept as its class name, so that the data always reads back and never carries a
     * caller's object along.
     */
    public RsmException with(String key, Object value) {
        facts.put(key == null ? "unnamed" : key, plain(value));
        asMap = null;
        return this;
    }

    /** The same failure as one of another operation, of which this one was a step. */
    RsmException inOp(String outer) {
        RsmException other = of(error, outer);
        other.facts.putAll(facts);
        return other.causedBy(this);
    }

    /** Adds what the caller can do about it. */
    public RsmException hint(String hint) {
        return with(HINT, hint);
    }

    /** Adds the exception that made the call fail to {@link #getSuppressed()}, and returns this. */
    public RsmException causedBy(Throwable cause) {
        if (cause != null && cause != this) {
            addSuppressed(cause);
        }
        return this;
    }

    /** What went wrong. */
    public RsmError error() {
        return error;
    }

    /** The number of the error. */
    public int code() {
        return error.code();
    }

    /** The operation that failed, such as {@code import-map}. */
    public String op() {
        return op;
    }

    /** The facts, unmodifiable, in the order in which they matter. */
    public Map<String, Object> data() {
        return Collections.unmodifiableMap(facts);
    }

    @Override
    public String getMessage() {
        StringBuilder text = new StringBuilder(160);
        text.append(error.rsmName()).append(" (").append(error.code()).append(") in ").append(op).append(": ")
            .append(error.meaning());
        String separator = "; ";
        for (Map.Entry<String, Object> fact : facts.entrySet()) {
            if (!fact.getKey().equals(HINT)) {
                text.append(separator).append(fact.getKey()).append(' ').append(brief(fact.getValue()));
                separator = ", ";
            }
        }
        Object hint = facts.get(HINT);
        if (hint != null) {
            text.append(". Hint: ").append(hint);
        }
        return text.toString();
    }

    private static String brief(Object fact) {
        String text = String.valueOf(fact);
        return text.length() <= LONGEST_TEXT ? text : text.substring(0, LONGEST_TEXT) + "...";
    }

    @Override
    public String toString() {
        return getClass().getName() + ": " + getMessage();
    }

    /**
     * The data as Clojure sees it, in this order: error, operation, number, the facts in the order in which they matter, the hint, the
     * category.
     */
    @Override
    public IPersistentMap getData() {
        IPersistentMap map = asMap;
        if (map == null) {
            map = asMap();
            asMap = map;
        }
        return map;
    }

    private IPersistentMap asMap() {
        List<Object> kvs = new ArrayList<>(2 * facts.size() + 8);
        put(kvs, "rsm", "error", Keyword.intern("rsm", error.keyword()));
        put(kvs, "rsm", "op", Keyword.intern(op));
        put(kvs, "rsm", "code", (long) error.code());
        for (Map.Entry<String, Object> fact : facts.entrySet()) {
            String key = fact.getKey();
            if (!key.equals(HINT) && !NAMES_OF_ITS_OWN.contains(key)) {
                put(kvs, "rsm", key, clojureValue(fact.getValue()));
            }
        }
        if (facts.containsKey(HINT)) {
            put(kvs, "rsm", HINT, facts.get(HINT));
        }
        put(kvs, "cognitect.anomalies", "category", Keyword.intern("cognitect.anomalies", enumName(error.category())));
        return new PersistentArrayMap(kvs.toArray()); // which keeps the order, whatever the number of entries
    }

    private static void put(List<Object> kvs, String namespace, String key, Object value) {
        kvs.add(Keyword.intern(namespace, key));
        kvs.add(value);
    }

    /** {@link ExceptionInfo#data}: the facts are added after that field has been set. */
    private static final class View extends APersistentMap {
        private static final long serialVersionUID = 1L;

        private RsmException of;

        private IPersistentMap map() {
            return of == null ? PersistentArrayMap.EMPTY : of.getData();
        }

        @Override
        public IPersistentMap assoc(Object key, Object value) {
            return map().assoc(key, value);
        }

        @Override
        public IPersistentMap assocEx(Object key, Object value) {
            return map().assocEx(key, value);
        }

        @Override
        public IPersistentMap without(Object key) {
            return map().without(key);
        }

        @Override
        public boolean containsKey(Object key) {
            return map().containsKey(key);
        }

        @Override
        public IMapEntry entryAt(Object key) {
            return map().entryAt(key);
        }

        @Override
        public Object valAt(Object key) {
            return map().valAt(key);
        }

        @Override
        public Object valAt(Object key, Object missing) {
            return map().valAt(key, missing);
        }

        @Override
        public int count() {
            return map().count();
        }

        @Override
        public IPersistentCollection empty() {
            return map().empty();
        }

        @Override
        public ISeq seq() {
            return map().seq();
        }

        @Override
        @SuppressWarnings("rawtypes")
        public Iterator iterator() {
            return map().iterator();
        }
    }

    // ---- the stack trace, which is cut when it is looked at: that takes longer than making the exception ----

    @Override
    public StackTraceElement[] getStackTrace() {
        trim();
        return super.getStackTrace();
    }

    @Override
    public void setStackTrace(StackTraceElement[] trace) {
        synchronized (this) {
            trimmed = true;
        }
        super.setStackTrace(trace);
    }

    @Override
    public void printStackTrace(PrintStream to) {
        trim();
        super.printStackTrace(to);
    }

    @Override
    public void printStackTrace(PrintWriter to) {
        trim();
        super.printStackTrace(to);
    }

    /** Before it is serialized. */
    private Object writeReplace() {
        trim();
        return this;
    }

    private synchronized void trim() {
        if (!trimmed) {
            trimmed = true;
            StackTraceElement[] trace = super.getStackTrace();
            boolean full = error == RsmError.INTERNAL_ERROR || "full".equals(System.getProperty("rsmapi.stack-traces"));
            int first = Frames.outside(trace, full);
            if (first > 0) {
                super.setStackTrace(Arrays.copyOfRange(trace, first, trace.length));
            }
        }
    }

    private static Object plain(Object value) {
        try {
            return plain(value, DEEPEST_LIST);
        } catch (Exception e) { // a number or list class of the caller's, which throws
            return "an instance of " + value.getClass().getName();
        }
    }

    private static Object plain(Object value, int deep) {
        if (value == null || value instanceof String || value instanceof Boolean || value instanceof Enum<?>) {
            return value;
        }
        if (value instanceof Double || value instanceof Float) {
            double number = ((Number) value).doubleValue();
            return Double.isNaN(number) ? (Object) "NaN" : number; // which would not equal itself
        }
        if (value instanceof Long || value instanceof Integer || value instanceof Short || value instanceof Byte) {
            return ((Number) value).longValue();
        }
        if (value instanceof Number || value instanceof Character) {
            return value.toString();
        }
        if (value instanceof Keyword) {
            return READABLE_KEYWORD.matcher(value.toString()).matches() ? value : value.toString();
        }
        // a list may be endless, contain itself, or do who knows what when it is looked at: not so the ones that are arrays
        if (value instanceof List<?> && value instanceof RandomAccess && deep > 0) {
            List<Object> copy = new ArrayList<>();
            for (Object item : (List<?>) value) {
                if (copy.size() == LONGEST_LIST) {
                    copy.add("...");
                    break;
                }
                copy.add(plain(item, deep - 1));
            }
            return Collections.unmodifiableList(copy);
        }
        if (value instanceof APersistentMap && deep > 0) {
            Map<Object, Object> copy = new LinkedHashMap<>();
            for (Object entry : (APersistentMap) value) {
                if (copy.size() == LONGEST_LIST) {
                    break;
                }
                copy.put(plain(((IMapEntry) entry).key(), deep - 1), plain(((IMapEntry) entry).val(), deep - 1));
            }
            return Collections.unmodifiableMap(copy);
        }
        return "an instance of " + value.getClass().getName();
    }

    private static Object clojureValue(Object value) {
        if (value instanceof Enum<?>) {
            return Keyword.intern(enumName((Enum<?>) value));
        }
        if (value instanceof List<?>) {
            List<Object> items = new ArrayList<>();
            for (Object item : (List<?>) value) {
                items.add(clojureValue(item));
            }
            return PersistentVector.create(items);
        }
        if (value instanceof Map<?, ?>) {
            IPersistentMap map = PersistentArrayMap.EMPTY;
            for (Map.Entry<?, ?> entry : ((Map<?, ?>) value).entrySet()) {
                map = map.assoc(clojureValue(entry.getKey()), clojureValue(entry.getValue()));
            }
            return map;
        }
        return value;
    }

    private static String enumName(Enum<?> value) {
        return value.name().toLowerCase(Locale.ROOT).replace('_', '-');
    }
}
