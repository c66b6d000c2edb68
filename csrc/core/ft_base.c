/* Names of the status codes, and the allocator that is used outside of tests. */
/* SPDX-License-Identifier: MIT */
#include "ft_base.h"

#include <stdlib.h>

const char *
ft_status_text(ft_status status)
{
    static const char *const texts[] = {
#define FT_STATUS_TEXT(name, text) text,
        FT_STATUS_LIST(FT_STATUS_TEXT)
#undef FT_STATUS_TEXT
    };
    size_t index = (size_t)status;
    return index < FT_COUNT_OF(texts) ? texts[index] : "unknown status";
}

static void *
libc_resize(void *context, void *block, size_t size)
{
    (void)context;
    if (size == 0) {
        free(block);
        return NULL;
    }
    return realloc(block, size);
}

ft_allocator
ft_allocator_libc(void)
{
    return (ft_allocator){libc_resize, NULL};
}
