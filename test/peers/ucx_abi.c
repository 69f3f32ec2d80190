/*
 * What the headers of UCX say of the numbers in org.rsmapi.sys.UcxAbi: a line for each, with its name there and its value. Then the
 * names of the statuses, as "status <value> <name>".
 *
 *     gcc -std=gnu99 -Wall -Wextra -Werror -o ucx_abi ucx_abi.c
 */
#include <stddef.h>
#include <stdio.h>
#include <ucp/api/ucp.h>

#define SIZE(type, name) printf(#name "_BYTES %zu\n", sizeof(type));
#define FIELD(type, field, name, width) \
    { \
        _Static_assert(sizeof(((type *) 0)->field) == (width), #type "." #field); \
        printf(#name " %zu\n", offsetof(type, field)); \
    }
#define UCP(name) printf(#name " %ld\n", (long) UCP_##name);
#define UCS(name) printf(#name " %ld\n", (long) UCS_##name);
#define STATUS(name) printf("status %d " #name "\n", (int) UCS_ERR_##name);

int main(void) {
    SIZE(ucp_params_t, PARAMS)
    FIELD(ucp_params_t, field_mask, PARAMS_MASK, 8)
    FIELD(ucp_params_t, features, PARAMS_FEATURES, 8)
    UCP(PARAM_FIELD_FEATURES)
    UCP(FEATURE_RMA)
    UCP(FEATURE_WAKEUP)

    SIZE(ucp_worker_params_t, WORKER_PARAMS)
    FIELD(ucp_worker_params_t, field_mask, WORKER_PARAMS_MASK, 8)
    FIELD(ucp_worker_params_t, thread_mode, WORKER_PARAMS_THREAD_MODE, 4)
    UCP(WORKER_PARAM_FIELD_THREAD_MODE)
    UCS(THREAD_MODE_SERIALIZED)

    SIZE(ucp_mem_map_params_t, MEM_MAP_PARAMS)
    FIELD(ucp_mem_map_params_t, field_mask, MEM_MAP_PARAMS_MASK, 8)
    FIELD(ucp_mem_map_params_t, address, MEM_MAP_PARAMS_ADDRESS, 8)
    FIELD(ucp_mem_map_params_t, length, MEM_MAP_PARAMS_LENGTH, 8)
    FIELD(ucp_mem_map_params_t, prot, MEM_MAP_PARAMS_PROT, 4)
    FIELD(ucp_mem_map_params_t, memory_type, MEM_MAP_PARAMS_MEMORY_TYPE, 4)
    UCP(MEM_MAP_PARAM_FIELD_ADDRESS)
    UCP(MEM_MAP_PARAM_FIELD_LENGTH)
    UCP(MEM_MAP_PARAM_FIELD_PROT)
    UCP(MEM_MAP_PARAM_FIELD_MEMORY_TYPE)
    UCP(MEM_MAP_PROT_LOCAL_READ)
    UCP(MEM_MAP_PROT_LOCAL_WRITE)
    UCP(MEM_MAP_PROT_REMOTE_READ)
    UCP(MEM_MAP_PROT_REMOTE_WRITE)
    UCS(MEMORY_TYPE_HOST)

    SIZE(ucp_ep_params_t, EP_PARAMS)
    FIELD(ucp_ep_params_t, field_mask, EP_PARAMS_MASK, 8)
    FIELD(ucp_ep_params_t, address, EP_PARAMS_ADDRESS, 8)
    FIELD(ucp_ep_params_t, err_mode, EP_PARAMS_ERR_MODE, 4)
    UCP(EP_PARAM_FIELD_REMOTE_ADDRESS)
    UCP(EP_PARAM_FIELD_ERR_HANDLING_MODE)
    UCP(ERR_HANDLING_MODE_PEER)

    SIZE(ucp_request_param_t, REQUEST_PARAM)
    FIELD(ucp_request_param_t, op_attr_mask, REQUEST_PARAM_MASK, 4)
    FIELD(ucp_request_param_t, flags, REQUEST_PARAM_FLAGS, 4)
    UCP(OP_ATTR_FIELD_FLAGS)
    UCP(EP_CLOSE_FLAG_FORCE)

    SIZE(ucs_status_t, STATUS)
    UCS(OK)
    UCS(INPROGRESS)
    UCS(ERR_NO_MEMORY)
    UCS(ERR_INVALID_PARAM)
    UCS(ERR_INVALID_ADDR)
    UCS(ERR_NO_ELEM)
    UCS(ERR_BUSY)
    UCS(ERR_CANCELED)
    UCS(ERR_OUT_OF_RANGE)
    UCS(ERR_TIMED_OUT)
    UCS(ERR_UNSUPPORTED)
    UCS(ERR_LAST)

    STATUS(NO_MESSAGE)
    STATUS(NO_RESOURCE)
    STATUS(IO_ERROR)
    STATUS(NO_MEMORY)
    STATUS(INVALID_PARAM)
    STATUS(UNREACHABLE)
    STATUS(INVALID_ADDR)
    STATUS(NOT_IMPLEMENTED)
    STATUS(MESSAGE_TRUNCATED)
    STATUS(NO_PROGRESS)
    STATUS(BUFFER_TOO_SMALL)
    STATUS(NO_ELEM)
    STATUS(SOME_CONNECTS_FAILED)
    STATUS(NO_DEVICE)
    STATUS(BUSY)
    STATUS(CANCELED)
    STATUS(SHMEM_SEGMENT)
    STATUS(ALREADY_EXISTS)
    STATUS(OUT_OF_RANGE)
    STATUS(TIMED_OUT)
    STATUS(EXCEEDS_LIMIT)
    STATUS(UNSUPPORTED)
    STATUS(REJECTED)
    STATUS(NOT_CONNECTED)
    STATUS(CONNECTION_RESET)
    STATUS(ENDPOINT_TIMEOUT)
    return 0;
}
