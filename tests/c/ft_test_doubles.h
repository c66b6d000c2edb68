/* Stand-ins for the outside world: an allocator and a sink that fail on demand. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_TEST_DOUBLES_H
#define FT_TEST_DOUBLES_H

#include "ft.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Counts calls that ask for memory and blocks that live; call number fail_at is refused. */
typedef struct {
    size_t calls, fail_at, live;
} test_heap;

typedef union {
    size_t size;
    max_align_t alignment;
} test_heap_header;

static inline void
test_heap_free(test_heap *heap, test_heap_header *header)
{
    if (header != NULL) {
        memset(header + 1, 0xDD, header->size); /* so that nobody reads it unseen */
        free(header);
        heap->live--;
    }
}

/* A block that grows always moves: a pointer to the old one is always a fault. */
static inline void *
test_heap_resize(void *context, void *block, size_t size)
{
    test_heap *heap = context;
    test_heap_header *old = block == NULL ? NULL : (test_heap_header *)block - 1;
    if (size == 0) {
        test_heap_free(heap, old);
        return NULL;
    }
    test_heap_header *header = malloc(sizeof *header + size);
    if (++heap->calls == heap->fail_at || header == NULL) {
        free(header);
        return NULL;
    }
    header->size = size;
    memset(header + 1, 0xA5, size);
    if (old != NULL) {
        memcpy(header + 1, block, old->size < size ? old->size : size);
        test_heap_free(heap, old);
    }
    heap->live++;
    return header + 1;
}

static inline ft_allocator
test_heap_allocator(test_heap *heap)
{
    return (ft_allocator){test_heap_resize, heap};
}

/* Collects text, always ended by 0; write number fail_at is refused. */
typedef struct {
    char text[200000];
    size_t length, writes, fail_at;
} test_page;

static inline ft_status
test_page_write(void *context, const char *bytes, size_t length)
{
    test_page *page = context;
    if (++page->writes == page->fail_at || length >= sizeof page->text - page->length) {
        return FT_SINK_FAILED;
    }
    memcpy(page->text + page->length, bytes, length);
    page->length += length;
    page->text[page->length] = '\0';
    return FT_OK;
}

static inline ft_sink
test_page_sink(test_page *page, size_t fail_at)
{
    page->length = page->writes = 0;
    page->fail_at = fail_at;
    page->text[0] = '\0';
    return (ft_sink){test_page_write, page};
}

#endif
