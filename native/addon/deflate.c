// deflateFrames(input, table, level) → Promise<{ data, lengths }>
//
// Clusters as zstd frames become the same clusters as zlib streams (RFC 1950), in the thread pool of libuv: what a VMDK
// with compressed grains is made of.
//   input    Buffer that holds the frames; it must not change until the promise is settled
//   table    Uint32Array, two values a frame: where it starts in `input`, how many bytes it has
//   level    of libdeflate, 1 to 12
//   data     Buffer with the zlib streams one after another
//   lengths  Uint32Array, the bytes of each
// Rejects, naming the frame by its number, when one does not hold exactly 65,536 bytes.

#include <libdeflate.h>
#include <node_api.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

enum { CLUSTER_BYTES = 65536, MOST_FRAMES = 4096 };

typedef struct {
    napi_deferred deferred;
    napi_async_work work;
    // Keeps the input alive.
    napi_ref input_ref;
    const uint8_t *input;
    size_t input_bytes;
    uint32_t *table;
    uint32_t frames;
    int level;
    uint8_t *output;
    size_t output_bytes;
    uint32_t *lengths;
    char failure[128];
} job;

static void job_free(napi_env env, job *j) {
    if (j->input_ref) napi_delete_reference(env, j->input_ref);
    if (j->work) napi_delete_async_work(env, j->work);
    free(j->table);
    free(j->output);
    free(j->lengths);
    free(j);
}

static bool deflate_frame(job *j, struct libdeflate_compressor *compressor, uint8_t *cluster, size_t room, uint32_t n) {
    size_t start = j->table[2 * n], length = j->table[2 * n + 1];
    if (start > j->input_bytes || length > j->input_bytes - start) {
        snprintf(j->failure, sizeof j->failure, "frame %u lies outside of its buffer", n);
        return false;
    }
    size_t decoded = ZSTD_decompress(cluster, CLUSTER_BYTES, j->input + start, length);
    if (ZSTD_isError(decoded) || decoded != CLUSTER_BYTES) {
        snprintf(j->failure, sizeof j->failure, "frame %u is corrupt: %s", n,
                 ZSTD_isError(decoded) ? ZSTD_getErrorName(decoded) : "it does not hold a whole cluster");
        return false;
    }
    size_t written = libdeflate_zlib_compress(compressor, cluster, CLUSTER_BYTES, j->output + j->output_bytes,
                                              room - j->output_bytes);
    if (written == 0) {
        snprintf(j->failure, sizeof j->failure, "frame %u does not fit its bound", n);
        return false;
    }
    j->lengths[n] = (uint32_t)written;
    j->output_bytes += written;
    return true;
}

static void execute(napi_env env, void *data) {
    (void)env;
    job *j = data;
    uint8_t *cluster = malloc(CLUSTER_BYTES);
    struct libdeflate_compressor *compressor = libdeflate_alloc_compressor(j->level);
    if (!cluster || !compressor) {
        snprintf(j->failure, sizeof j->failure, "out of memory");
        goto out;
    }
    size_t room = libdeflate_zlib_compress_bound(compressor, CLUSTER_BYTES) * j->frames;
    j->output = malloc(room ? room : 1);
    if (!j->output) {
        snprintf(j->failure, sizeof j->failure, "out of memory");
        goto out;
    }
    for (uint32_t n = 0; n < j->frames; n++)
        if (!deflate_frame(j, compressor, cluster, room, n)) goto out;
out:
    if (compressor) libdeflate_free_compressor(compressor);
    free(cluster);
}

static bool settle(napi_env env, job *j, napi_value *result) {
    napi_value data, buffer, lengths;
    void *to;
    if (napi_create_buffer_copy(env, j->output_bytes, j->output, NULL, &data) != napi_ok) return false;
    if (napi_create_arraybuffer(env, sizeof(uint32_t) * j->frames, &to, &buffer) != napi_ok) return false;
    if (j->frames > 0) memcpy(to, j->lengths, sizeof(uint32_t) * j->frames);
    return napi_create_typedarray(env, napi_uint32_array, j->frames, buffer, 0, &lengths) == napi_ok &&
           napi_create_object(env, result) == napi_ok &&
           napi_set_named_property(env, *result, "data", data) == napi_ok &&
           napi_set_named_property(env, *result, "lengths", lengths) == napi_ok;
}

static void complete(napi_env env, napi_status status, void *data) {
    job *j = data;
    napi_value result = NULL, message, error;
    if (status == napi_ok && !j->failure[0] && settle(env, j, &result)) {
        napi_resolve_deferred(env, j->deferred, result);
    } else {
        napi_create_string_utf8(env, j->failure[0] ? j->failure : "interrupted", NAPI_AUTO_LENGTH, &message);
        napi_create_error(env, NULL, message, &error);
        napi_reject_deferred(env, j->deferred, error);
    }
    job_free(env, j);
}

// Fills a job from the arguments; false when they are not what they must be.
static bool read_arguments(napi_env env, napi_value *argv, job *j) {
    bool is_buffer = false, is_typed = false;
    void *bytes = NULL, *entries = NULL;
    size_t count = 0, entries_count = 0;
    napi_typedarray_type type;
    if (napi_is_buffer(env, argv[0], &is_buffer) != napi_ok || !is_buffer) return false;
    if (napi_is_typedarray(env, argv[1], &is_typed) != napi_ok || !is_typed) return false;
    if (napi_get_buffer_info(env, argv[0], &bytes, &count) != napi_ok) return false;
    if (napi_get_typedarray_info(env, argv[1], &type, &entries_count, &entries, NULL, NULL) != napi_ok) return false;
    if (type != napi_uint32_array || entries_count % 2 != 0 || entries_count / 2 > MOST_FRAMES) return false;
    if (napi_get_value_int32(env, argv[2], &j->level) != napi_ok || j->level < 1 || j->level > 12) return false;
    j->input = bytes;
    j->input_bytes = count;
    j->frames = (uint32_t)(entries_count / 2);
    size_t table_bytes = entries_count * sizeof(uint32_t);
    j->table = malloc(table_bytes + 1);
    j->lengths = calloc(j->frames + 1, sizeof(uint32_t));
    if (!j->table || !j->lengths) return false;
    if (table_bytes > 0) memcpy(j->table, entries, table_bytes);
    return true;
}

static napi_value deflate_frames(napi_env env, napi_callback_info info) {
    napi_value argv[3], promise, name;
    size_t argc = 3;
    job *j = calloc(1, sizeof *j);
    if (!j || napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc != 3 ||
        !read_arguments(env, argv, j)) {
        if (j) job_free(env, j);
        napi_throw_type_error(env, NULL, "deflateFrames(Buffer, Uint32Array of pairs, level 1 to 12)");
        return NULL;
    }
    if (napi_create_reference(env, argv[0], 1, &j->input_ref) != napi_ok ||
        napi_create_string_utf8(env, "deflateFrames", NAPI_AUTO_LENGTH, &name) != napi_ok ||
        napi_create_async_work(env, NULL, name, execute, complete, j, &j->work) != napi_ok ||
        napi_create_promise(env, &j->deferred, &promise) != napi_ok) {
        job_free(env, j);
        napi_throw_error(env, NULL, "deflateFrames cannot start");
        return NULL;
    }
    if (napi_queue_async_work(env, j->work) != napi_ok) {
        snprintf(j->failure, sizeof j->failure, "cannot be queued");
        complete(env, napi_generic_failure, j);
    }
    return promise;
}

NAPI_MODULE_INIT() {
    napi_value function;
    if (napi_create_function(env, "deflateFrames", NAPI_AUTO_LENGTH, deflate_frames, NULL, &function) != napi_ok ||
        napi_set_named_property(env, exports, "deflateFrames", function) != napi_ok) {
        napi_throw_error(env, NULL, "the addon cannot be set up");
        return NULL;
    }
    return exports;
}
