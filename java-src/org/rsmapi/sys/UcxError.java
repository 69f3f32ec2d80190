package org.rsmapi.sys;

/** A call of UCX that failed: which one, and its status. */
public final class UcxError extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /** By the status, negated. */
    private static final String[] NAMES = {"OK", "NO_MESSAGE", "NO_RESOURCE", "IO_ERROR", "NO_MEMORY", "INVALID_PARAM", "UNREACHABLE",
        "INVALID_ADDR", "NOT_IMPLEMENTED", "MESSAGE_TRUNCATED", "NO_PROGRESS", "BUFFER_TOO_SMALL", "NO_ELEM", "SOME_CONNECTS_FAILED",
        "NO_DEVICE", "BUSY", "CANCELED", "SHMEM_SEGMENT", "ALREADY_EXISTS", "OUT_OF_RANGE", "TIMED_OUT", "EXCEEDS_LIMIT", "UNSUPPORTED",
        "REJECTED", "NOT_CONNECTED", "CONNECTION_RESET"};
    private static final int ENDPOINT_TIMEOUT = -80;

    private final String call;
    private final int status;

    UcxError(String call, int status, String text) {
        super(call + ": " + name(status) + " (" + status + "): " + text);
        this.call = call;
        this.status = status;
    }

    /** With the library's own text for the status. */
    static UcxError of(String call, int status) {
        return new UcxError(call, status, Ucp.ucs_status_string(status));
    }

    /**
     * Makes sure that a call has succeeded.
     *
     * @throws UcxError if the status is not OK
     */
    static void check(int status, String call) {
        if (status != UcxAbi.OK) {
            throw of(call, status);
        }
    }

    /** The symbolic name without {@code UCS_ERR_}, or {@code status N} for a number not in the table. */
    static String name(int status) {
        if (status == ENDPOINT_TIMEOUT) {
            return "ENDPOINT_TIMEOUT";
        }
        return status <= 0 && -status < NAMES.length ? NAMES[-status] : "status " + status;
    }

    /** The function's name. */
    public String call() {
        return call;
    }

    /** The number, a ucs_status_t. */
    public int status() {
        return status;
    }

    /** The status's symbolic name, such as {@code CONNECTION_RESET}. */
    public String statusName() {
        return name(status);
    }

    /** Whether a deadline has passed. */
    public boolean isTimeout() {
        return status == UcxAbi.ERR_TIMED_OUT || status == ENDPOINT_TIMEOUT;
    }
}
