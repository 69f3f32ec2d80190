package org.rsmapi.sys;

/** A context of UCX, for one worker: it can use one device, and no transport that does not need it. */
final class UcxContext implements AutoCloseable {
    private final long handle;

    private UcxContext(long handle) {
        this.handle = handle;
    }

    static UcxContext open(String device) {
        long config = readConfig();
        try {
            configure(config, device);
            return new UcxContext(initialise(config));
        } finally {
            Ucp.ucp_config_release(config);
        }
    }

    private static long readConfig() {
        try (NativeBlock out = new NativeBlock(Long.BYTES)) {
            UcxError.check(Ucp.ucp_config_read(null, null, out.address()), "ucp_config_read");
            return out.getLong(0);
        }
    }

    private static void configure(long config, String device) {
        set(config, "TLS", Ucx.transports(), true);
        set(config, "NET_DEVICES", Ucx.isOverTcp() ? device.replaceFirst(":.*", "") : device, true); // interfaces have no ports
        // Without memory events a cache of registrations would not know that memory was unmapped.
        set(config, "RCACHE_ENABLE", "n", false);
        set(config, "IB_REG_METHODS", "direct", false);
        set(config, "WARN_INVALID_CONFIG", "n", false);
    }

    private static void set(long config, String name, String value, boolean required) {
        int status = Ucp.ucp_config_modify(config, name, value);
        if (required || status != UcxAbi.ERR_NO_ELEM) { // another version may not have it
            UcxError.check(status, "ucp_config_modify");
        }
    }

    private static long initialise(long config) {
        try (NativeBlock params = new NativeBlock(UcxAbi.PARAMS_BYTES); NativeBlock out = new NativeBlock(Long.BYTES)) {
            params.putLong(UcxAbi.PARAMS_MASK, UcxAbi.PARAM_FIELD_FEATURES);
            params.putLong(UcxAbi.PARAMS_FEATURES, UcxAbi.FEATURE_RMA | UcxAbi.FEATURE_WAKEUP);
            UcxError.check(Ucp.ucp_init_version(UcxAbi.API_MAJOR, UcxAbi.API_MINOR, params.address(), config, out.address()), "ucp_init");
            return out.getLong(0);
        }
    }

    long createWorker() {
        try (NativeBlock params = new NativeBlock(UcxAbi.WORKER_PARAMS_BYTES); NativeBlock out = new NativeBlock(Long.BYTES)) {
            params.putLong(UcxAbi.WORKER_PARAMS_MASK, UcxAbi.WORKER_PARAM_FIELD_THREAD_MODE);
            params.putInt(UcxAbi.WORKER_PARAMS_THREAD_MODE, UcxAbi.THREAD_MODE_SERIALIZED);
            UcxError.check(Ucp.ucp_worker_create(handle, params.address(), out.address()), "ucp_worker_create");
            return out.getLong(0);
        }
    }

    long map(long address, long length, boolean writable) {
        int prot = UcxAbi.MEM_MAP_PROT_LOCAL_READ | UcxAbi.MEM_MAP_PROT_REMOTE_READ
            | (writable ? UcxAbi.MEM_MAP_PROT_LOCAL_WRITE | UcxAbi.MEM_MAP_PROT_REMOTE_WRITE : 0);
        try (NativeBlock params = new NativeBlock(UcxAbi.MEM_MAP_PARAMS_BYTES); NativeBlock out = new NativeBlock(Long.BYTES)) {
            params.putLong(UcxAbi.MEM_MAP_PARAMS_MASK, UcxAbi.MEM_MAP_PARAM_FIELD_ADDRESS | UcxAbi.MEM_MAP_PARAM_FIELD_LENGTH
                | UcxAbi.MEM_MAP_PARAM_FIELD_PROT | UcxAbi.MEM_MAP_PARAM_FIELD_MEMORY_TYPE);
            params.putLong(UcxAbi.MEM_MAP_PARAMS_ADDRESS, address);
            params.putLong(UcxAbi.MEM_MAP_PARAMS_LENGTH, length);
            params.putInt(UcxAbi.MEM_MAP_PARAMS_PROT, prot);
            params.putInt(UcxAbi.MEM_MAP_PARAMS_MEMORY_TYPE, UcxAbi.MEMORY_TYPE_HOST);
            UcxError.check(Ucp.ucp_mem_map(handle, params.address(), out.address()), "ucp_mem_map");
            return out.getLong(0);
        }
    }

    void unmap(long memory) {
        UcxError.check(Ucp.ucp_mem_unmap(handle, memory), "ucp_mem_unmap");
    }

    byte[] pack(long memory) {
        try (NativeBlock out = new NativeBlock(2 * Long.BYTES)) {
            UcxError.check(Ucp.ucp_rkey_pack(handle, memory, out.address(), out.address() + Long.BYTES), "ucp_rkey_pack");
            try {
                return UcxWorker.copy(out.getLong(0), out.getLong(Long.BYTES));
            } finally {
                Ucp.ucp_rkey_buffer_release(out.getLong(0));
            }
        }
    }

    @Override
    public void close() {
        Ucp.ucp_cleanup(handle);
    }
}
