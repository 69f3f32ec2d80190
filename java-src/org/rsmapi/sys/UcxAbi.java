package org.rsmapi.sys;

/**
 * Numbers of libucp's interface: of structures the size and the offsets of fields, of enumerations the values. They are the same on
 * x86-64 and aarch64. A test compares all of them with the headers.
 *
 * <p>A field of a structure is read by the library only if a mask in the structure names it, so a later version can append fields.
 */
final class UcxAbi {
    /** The version of the interface that is asked for: the first one with all functions of {@link Ucp}. */
    static final int API_MAJOR = 1;
    static final int API_MINOR = 10;

    /** ucp_params_t */
    static final int PARAMS_BYTES = 80;
    static final int PARAMS_MASK = 0;
    static final int PARAMS_FEATURES = 8;
    static final int PARAM_FIELD_FEATURES = 1;
    static final int FEATURE_RMA = 1 << 1;
    static final int FEATURE_WAKEUP = 1 << 4;

    /** ucp_worker_params_t */
    static final int WORKER_PARAMS_BYTES = 200;
    static final int WORKER_PARAMS_MASK = 0;
    static final int WORKER_PARAMS_THREAD_MODE = 8;
    static final int WORKER_PARAM_FIELD_THREAD_MODE = 1;
    static final int THREAD_MODE_SERIALIZED = 1;

    /** ucp_mem_map_params_t */
    static final int MEM_MAP_PARAMS_BYTES = 40;
    static final int MEM_MAP_PARAMS_MASK = 0;
    static final int MEM_MAP_PARAMS_ADDRESS = 8;
    static final int MEM_MAP_PARAMS_LENGTH = 16;
    static final int MEM_MAP_PARAMS_PROT = 28;
    static final int MEM_MAP_PARAMS_MEMORY_TYPE = 32;
    static final int MEM_MAP_PARAM_FIELD_ADDRESS = 1;
    static final int MEM_MAP_PARAM_FIELD_LENGTH = 1 << 1;
    static final int MEM_MAP_PARAM_FIELD_PROT = 1 << 3;
    static final int MEM_MAP_PARAM_FIELD_MEMORY_TYPE = 1 << 4;
    static final int MEM_MAP_PROT_LOCAL_READ = 1;
    static final int MEM_MAP_PROT_LOCAL_WRITE = 1 << 1;
    static final int MEM_MAP_PROT_REMOTE_READ = 1 << 8;
    static final int MEM_MAP_PROT_REMOTE_WRITE = 1 << 9;
    static final int MEMORY_TYPE_HOST = 0;

    /** ucp_ep_params_t */
    static final int EP_PARAMS_BYTES = 104;
    static final int EP_PARAMS_MASK = 0;
    static final int EP_PARAMS_ADDRESS = 8;
    static final int EP_PARAMS_ERR_MODE = 16;
    static final int EP_PARAM_FIELD_REMOTE_ADDRESS = 1;
    static final int EP_PARAM_FIELD_ERR_HANDLING_MODE = 1 << 1;
    static final int ERR_HANDLING_MODE_PEER = 1;

    /** ucp_request_param_t; a zeroed one is valid. */
    static final int REQUEST_PARAM_BYTES = 72;
    static final int REQUEST_PARAM_MASK = 0;
    static final int REQUEST_PARAM_FLAGS = 4;
    static final int OP_ATTR_FIELD_FLAGS = 1 << 4;
    static final int EP_CLOSE_FLAG_FORCE = 1;

    /** ucs_status_t: those that the library itself looks at. */
    static final int STATUS_BYTES = 1;
    static final int OK = 0;
    static final int INPROGRESS = 1;
    static final int ERR_NO_MEMORY = -4;
    static final int ERR_INVALID_PARAM = -5;
    static final int ERR_INVALID_ADDR = -7;
    static final int ERR_NO_ELEM = -12;
    static final int ERR_BUSY = -15;
    static final int ERR_CANCELED = -16;
    static final int ERR_OUT_OF_RANGE = -19;
    static final int ERR_TIMED_OUT = -20;
    static final int ERR_UNSUPPORTED = -22;
    static final int ERR_LAST = -100;

    private UcxAbi() {}
}
