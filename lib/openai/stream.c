/* Tells events apart by their fixed outer form, without reading their JSON. */
#include "openai/stream.h"

bool stream_is_usage(struct span bytes)
{
    return span_ends(bytes, SPAN("}}\n\n")) && span_find(bytes, SPAN("\"choices\":[]")) >= 0;
}

bool stream_is_closing(struct span bytes)
{
    return span_ends(bytes, SPAN("data: [DONE]\n\n")) || stream_is_usage(bytes);
}

bool stream_has_error(struct span bytes)
{
    return span_starts(bytes, SPAN("data: {\"error\":")) ||
           span_find(bytes, SPAN("\ndata: {\"error\":")) >= 0;
}
