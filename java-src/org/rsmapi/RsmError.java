package org.rsmapi;

import java.util.Locale;

/**
 * Every return code of the RSMAPI that can reach an application: its number, what it means and what kind of failure it is.
 *
 * <p>The constants carry the manual's names without the {@code RSMERR_} prefix. {@link #code()} is the number of
 * {@code <rsmapi.h>}; {@link #keyword()} is the name Clojure code sees (as {@code :rsm/bad-offset}); {@link #category()}
 * says what a caller can do about it, in the vocabulary of cognitect.anomalies.
 */
public enum RsmError {
    BAD_LIBRARY_VERSION(1, Category.UNSUPPORTED, "the interconnect speaks another version of the library interface"),
    BAD_TOPOLOGY_PTR(2, Category.INCORRECT, "no place for the topology was given"),
    BAD_CTLR_HNDL(3, Category.INCORRECT, "not a usable controller handle"),
    CTLR_NOT_PRESENT(4, Category.NOT_FOUND, "there is no such controller, or it is closed"),
    BAD_SEG_HNDL(5, Category.INCORRECT, "not a usable segment handle"),
    SEG_ALREADY_PUBLISHED(6, Category.CONFLICT, "the segment is published already"),
    SEG_NOT_PUBLISHED(7, Category.NOT_FOUND, "no such segment is published"),
    SEG_NOT_PUBLISHED_TO_NODE(8, Category.FORBIDDEN, "the segment is not published to this node"),
    SEG_ALREADY_MAPPED(9, Category.CONFLICT, "the import handle has a mapping already"),
    SEG_STILL_MAPPED(10, Category.CONFLICT, "the import handle is still mapped"),
    SEG_NOT_MAPPED(11, Category.CONFLICT, "the import handle is not mapped"),
    NOT_CREATOR(12, Category.FORBIDDEN, "the caller is not the creator of the segment"),
    BAD_BARRIER_PTR(13, Category.INCORRECT, "not a usable barrier"),
    BAD_SGIO(14, Category.INCORRECT, "the scatter-gather request is malformed"),
    BAD_LOCALMEM_HNDL(15, Category.INCORRECT, "not a usable local memory handle"),
    BAD_ADDR(16, Category.INCORRECT, "the address or buffer cannot be used"),
    BAD_MEM_ALIGNMENT(17, Category.INCORRECT, "an address or offset is not aligned as it must be"),
    BAD_OFFSET(18, Category.INCORRECT, "the offset is outside the segment or its mapped window"),
    MISALIGNED_OFFSET(19, Category.INCORRECT, "the offset is not aligned"),
    BAD_LENGTH(20, Category.INCORRECT, "the length is zero, negative, or reaches past the end"),
    BAD_ACL(21, Category.INCORRECT, "the access list is malformed"),
    BAD_SEGID(22, Category.INCORRECT, "not a segment id"),
    RESERVED_SEGID(23, Category.INCORRECT, "the segment id lies in a reserved range"),
    SEGID_IN_USE(24, Category.CONFLICT, "the segment id is already published on this node"),
    BAD_MODE(25, Category.INCORRECT, "not a barrier mode"),
    BAD_PERMS(26, Category.INCORRECT, "the permission is malformed or exceeds what the connection was granted"),
    PERM_DENIED(27, Category.FORBIDDEN, "the permission does not allow it"),
    LOCKS_NOT_SUPPORTED(28, Category.UNSUPPORTED, "there are no locks, or no ordered or atomic access of this kind"),
    LOCKS_NOT_ENABLED(29, Category.UNSUPPORTED, "locks are not enabled"),
    REBIND_NOT_ALLOWED(30, Category.FORBIDDEN, "the segment was created without the right to rebind"),
    INSUFFICIENT_RESOURCES(31, Category.BUSY, "descriptors, mappings or other resources are used up"),
    INSUFFICIENT_MEM(32, Category.BUSY, "there is not enough memory"),
    MAP_FAILED(33, Category.FAULT, "the mapping could not be made"),
    POLLFD_IN_USE(34, Category.CONFLICT, "a poll descriptor of the segment is still held"),
    BARRIER_UNINITIALIZED(35, Category.INCORRECT, "the barrier is not initialised"),
    BARRIER_OPEN_FAILED(36, Category.FAULT, "the barrier could not be opened"),
    BARRIER_NOT_OPENED(37, Category.INCORRECT, "the barrier is not open"),
    BARRIER_FAILURE(38, Category.FAULT, "nobody knows whether the data has arrived"),
    REMOTE_NODE_UNREACHABLE(39, Category.UNAVAILABLE, "the node cannot be reached"),
    CONN_ABORTED(40, Category.UNAVAILABLE, "the connection to the exporter is gone"),
    INTERRUPTED(41, Category.INTERRUPTED, "the call was interrupted"),
    TIMEOUT(42, Category.BUSY, "the timeout expired"),
    BAD_APPID(43, Category.NOT_FOUND, "the application id is not configured"),
    BAD_CONF(44, Category.INCORRECT, "a configuration file or setting is missing or malformed"),
    SEG_NOT_CONNECTED(45, Category.CONFLICT, "the segment is not connected"),
    INTERNAL_ERROR(100, Category.FAULT, "the interconnect failed in a way that has no name of its own"),
    BAD_DRIVER_VERSION(101, Category.UNSUPPORTED, "the other side speaks another protocol version"),
    BAD_ARGS_ERRORS(117, Category.INCORRECT, "an argument is malformed");

    /** What a caller can do about a failure; the names are those of cognitect.anomalies. */
    public enum Category { UNAVAILABLE, INTERRUPTED, INCORRECT, FORBIDDEN, UNSUPPORTED, NOT_FOUND, CONFLICT, FAULT, BUSY }

    private static final RsmError[] BY_CODE = new RsmError[128];

    static {
        for (RsmError e : values()) {
            BY_CODE[e.code] = e;
        }
    }

    private final int code;
    private final Category category;
    private final String meaning;

    RsmError(int code, Category category, String meaning) {
        this.code = code;
        this.category = category;
        this.meaning = meaning;
    }

    /** The number of the RSMAPI, 1..45 or one of 100, 101, 117. */
    public int code() {
        return code;
    }

    /** The kind of failure. */
    public Category category() {
        return category;
    }

    /** One line, in lower case and without a full stop. */
    public String meaning() {
        return meaning;
    }

    /** The name in the manual, such as {@code RSMERR_BAD_OFFSET}. */
    public String rsmName() {
        return "RSMERR_" + name();
    }

    /** The name in data, such as {@code bad-offset} (in Clojure the keyword {@code :rsm/bad-offset}). */
    public String keyword() {
        return name().toLowerCase(Locale.ROOT).replace('_', '-');
    }

    /** Whether the same call may succeed later without the caller changing anything. */
    public boolean retriable() {
        return category == Category.BUSY || category == Category.INTERRUPTED || category == Category.UNAVAILABLE;
    }

    /** The error with this number, or null if the number is not one of ours. */
    public static RsmError ofCode(int code) {
        return code >= 0 && code < BY_CODE.length ? BY_CODE[code] : null;
    }
}
