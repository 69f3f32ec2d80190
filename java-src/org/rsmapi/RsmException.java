package org.rsmapi;

import clojure.lang.IExceptionInfo;
import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import clojure.lang.PersistentHashMap;
import clojure.lang.PersistentVector;
import java.util.ArrayList;
import java.util.Collections;
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
 */
public final class RsmException extends RuntimeException implements IExceptionInfo {
    private static final long serialVersionUID = 1L;

    private static final int LONGEST_LIST = 64;
    private static final int DEEPEST_LIST = 4;
    private static final Pattern READABLE_KEYWORD =
        Pattern.compile(":([a-zA-Z*!_?<>=.+-][\\w*!?<>=.+-]*/)?[a-zA-Z*!_?<>=.+-][\\w*!?<>=.+-]*");

    private final RsmError error;
    private final String op;
    private final LinkedHashMap<String, Object> data = new LinkedHashMap<>();

    private RsmException(RsmError error, String op) {
        this.error = error == null ? RsmError.INTERNAL_ERROR : error; // a report of a failure must not fail itself
        this.op = op == null ? "unknown" : op;
    }

    /** A failure of operation {@code op} (such as {@code import-map}); facts are added by {@link #with}. */
    public static RsmException of(RsmError error, String op) {
        return new RsmException(error, op);
    }

    /**
     * Adds one fact and returns this. Values are numbers, strings, booleans, enums, lists of those (with random access, and the
     * first 64 items) or null; anything else is kept as its class name, so that the data always reads back and never carries a
     * caller's object along.
     */
    public RsmException with(String key, Object value) {
        data.put(key == null ? "unnamed" : key, plain(value));
        return this;
    }

    /** The same failure as one of another operation, of which this one was a step. */
    RsmException inOp(String outer) {
        RsmException other = new RsmException(error, outer);
        other.data.putAll(data);
        return other.causedBy(this);
    }

    /** Adds what the caller can do about it. */
    public RsmException hint(String hint) {
        return with("hint", hint);
    }

    /** Adds the cause and returns this. */
    public RsmException causedBy(Throwable cause) {
        if (getCause() == null && cause != null && cause != this) {
            initCause(cause);
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
        return Collections.unmodifiableMap(data);
    }

    @Override
    public String getMessage() {
        StringBuilder text = new StringBuilder(160);
        text.append(error.rsmName()).append(" (").append(error.code()).append(") in ").append(op).append(": ")
            .append(error.meaning());
        String separator = "; ";
        for (Map.Entry<String, Object> fact : data.entrySet()) {
            if (!fact.getKey().equals("hint")) {
                text.append(separator).append(fact.getKey()).append(' ').append(fact.getValue());
                separator = ", ";
            }
        }
        Object hint = data.get("hint");
        if (hint != null) {
            text.append(". Hint: ").append(hint);
        }
        return text.toString();
    }

    /** The data as Clojure sees it. */
    @Override
    public IPersistentMap getData() {
        List<Object> kvs = new ArrayList<>();
        kvs.add(Keyword.intern("rsm", "error"));
        kvs.add(Keyword.intern("rsm", error.keyword()));
        kvs.add(Keyword.intern("rsm", "code"));
        kvs.add((long) error.code());
        kvs.add(Keyword.intern("rsm", "op"));
        kvs.add(Keyword.intern(op));
        kvs.add(Keyword.intern("cognitect.anomalies", "category"));
        kvs.add(Keyword.intern("cognitect.anomalies", enumName(error.category())));
        for (Map.Entry<String, Object> fact : data.entrySet()) {
            kvs.add(Keyword.intern("rsm", fact.getKey()));
            kvs.add(clojureValue(fact.getValue()));
        }
        return PersistentHashMap.create(kvs.toArray());
    }

    private static Object plain(Object value) {
        return plain(value, DEEPEST_LIST);
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
        return value;
    }

    private static String enumName(Enum<?> value) {
        return value.name().toLowerCase(Locale.ROOT).replace('_', '-');
    }
}
