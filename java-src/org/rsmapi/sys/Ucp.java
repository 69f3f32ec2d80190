package org.rsmapi.sys;

/**
 * The functions of libucp, bound directly by {@link Ucx} when UCX is first asked for; until then, none of them can be called.
 *
 * <p>Pointers and sizes are {@code long}. A ucs_status_t is one byte; the rest of the register is undefined. What is called
 * {@code result} elsewhere, a {@code ucs_status_ptr_t}, is the address of a request, 0 for success, or a negative status.
 */
final class Ucp {
    private Ucp() {}

    static native void ucp_get_version(long major, long minor, long release);

    static native byte ucp_config_read(String prefix, String file, long config);

    static native byte ucp_config_modify(long config, String name, String value);

    static native void ucp_config_release(long config);

    static native byte ucp_init_version(int major, int minor, long params, long config, long context);

    static native void ucp_cleanup(long context);

    static native byte ucp_worker_create(long context, long params, long worker);

    static native void ucp_worker_destroy(long worker);

    static native byte ucp_worker_get_address(long worker, long address, long length);

    static native void ucp_worker_release_address(long worker, long address);

    static native int ucp_worker_progress(long worker);

    static native byte ucp_worker_get_efd(long worker, long fd);

    static native byte ucp_worker_arm(long worker);

    static native byte ucp_worker_signal(long worker);

    static native byte ucp_ep_create(long worker, long params, long ep);

    static native long ucp_ep_close_nbx(long ep, long param);

    static native long ucp_ep_flush_nbx(long ep, long param);

    static native byte ucp_mem_map(long context, long params, long memory);

    static native byte ucp_mem_unmap(long context, long memory);

    static native byte ucp_rkey_pack(long context, long memory, long buffer, long length);

    static native void ucp_rkey_buffer_release(long buffer);

    static native byte ucp_ep_rkey_unpack(long ep, long buffer, long key);

    static native void ucp_rkey_destroy(long key);

    static native long ucp_put_nbx(long ep, long buffer, long length, long remote, long key, long param);

    static native long ucp_get_nbx(long ep, long buffer, long length, long remote, long key, long param);

    static native byte ucp_request_check_status(long request);

    static native void ucp_request_free(long request);

    /** Of libucs, which libucp depends on. */
    static native String ucs_status_string(int status);
}
