/* The list of api.md §1.5. The first row that matches answers. */
#include "openai/paths.h"

enum { EXACT, UNDER /* below the path only */, BOTH };

static const struct {
    const char *path;
    int match;
    const struct api_error *error;
} refusals[] = {
    {"/chat/completions", UNDER, &ERR_NOT_STORED},
    {"/responses/compact", EXACT, &ERR_NOT_STORED_RESPONSES},
    {"/responses/input_tokens", EXACT, &ERR_NO_RESPONSES},
    {"/responses", EXACT, &ERR_NO_RESPONSES},
    {"/responses", UNDER, &ERR_NOT_STORED_RESPONSES},
    {"/conversations", BOTH, &ERR_NOT_STORED_RESPONSES},
    {"/files", BOTH, &ERR_NO_FILES},
    {"/uploads", BOTH, &ERR_NO_FILES},
    {"/vector_stores", BOTH, &ERR_NO_FILES},
    {"/containers", BOTH, &ERR_NO_FILES},
    {"/assistants", BOTH, &ERR_NO_ASSISTANTS},
    {"/threads", BOTH, &ERR_NO_ASSISTANTS},
    {"/fine_tuning", BOTH, &ERR_NO_FINE_TUNING},
    {"/fine-tunes", BOTH, &ERR_NO_FINE_TUNING},
    {"/evals", BOTH, &ERR_NO_FINE_TUNING},
    {"/moderations", BOTH, &ERR_NO_MODERATION},
    {"/realtime", BOTH, &ERR_NO_REALTIME},
    {"/batches", BOTH, &ERR_NO_BATCHES},
    {"/messages/batches", BOTH, &ERR_NO_BATCHES},
    {"/messages", BOTH, &ERR_NO_RESPONSES},
    {"/images", BOTH, &ERR_NO_IMAGES},
    {"/audio", BOTH, &ERR_NO_AUDIO},
    {"/videos", BOTH, &ERR_NO_VIDEO},
    {"/rerank", EXACT, &ERR_NOT_IMPLEMENTED},
    {"/reranking", EXACT, &ERR_NOT_IMPLEMENTED},
    {"/v2/rerank", EXACT, &ERR_NOT_IMPLEMENTED},
    {"/score", EXACT, &ERR_NOT_IMPLEMENTED},
    {"/tokenize", EXACT, &ERR_NOT_IMPLEMENTED},
    {"/detokenize", EXACT, &ERR_NOT_IMPLEMENTED},
};

const struct api_error *path_refusal(struct span path)
{
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        const struct span own = span_str(refusals[i].path);
        const bool same = span_eq(path, own);
        const bool under =
            span_starts(path, own) && path.len > own.len + 1 && path.data[own.len] == '/';
        if ((same && refusals[i].match != UNDER) || (under && refusals[i].match != EXACT))
            return refusals[i].error;
    }
    return NULL;
}
