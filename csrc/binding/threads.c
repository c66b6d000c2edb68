/* The threads that a counter counts in: their modes, and the hooks that tell of their modules. */
/* SPDX-License-Identifier: MIT */
#include "counting.h"

static pyft_thread *
current_thread(const pyft_counter *self)
{
    unsigned long id = PyThread_get_thread_ident();
    for (int i = self->thread_count - 1; i >= 0; i--) {
        if (self->threads[i]->id == id) {
            return self->threads[i];
        }
    }
    return NULL;
}

bool
pyft_counter_swap_after_backward(pyft_counter *self, bool after)
{
    pyft_thread *thread = current_thread(self);
    bool before = thread != NULL && thread->after_backward;
    if (thread != NULL) {
        thread->after_backward = after;
    }
    return before;
}

/* On an accelerator autograd runs backward in threads of its own, and takes the modes along. */
static pyft_thread *
thread_of_mode(const pyft_counter *self)
{
    const pyft_torch *torch = &self->state->counting->torch;
    pyft_thread *found = NULL;
    for (long long i = pyft_torch_number(torch->stack_size) - 1; i >= 0 && found == NULL; i--) {
        PyObject *mode = PyObject_CallFunction(torch->stack_at, "L", i);
        if (mode == NULL) {
            break;
        }
        pyft_thread *thread = pyft_mode_thread(mode, self->state);
        found = thread != NULL && thread->counter == self ? thread : NULL;
        Py_DECREF(mode);
    }
    PyErr_Clear(); /* a stack that others change meanwhile */
    return found;
}

/* Held until pyft_thread_release; NULL where this thread is not counted. */
static pyft_thread *
hold_counted(pyft_counter *self)
{
    pyft_thread *thread = self->active ? current_thread(self) : NULL;
    if (self->active && (thread == NULL || thread->mode == NULL)) {
        thread = thread_of_mode(self);
    }
    if (thread != NULL) {
        pyft_thread_hold(thread);
    }
    return thread;
}

static pyft_thread *
new_thread(pyft_counter *self)
{
    size_t size = ((size_t)self->thread_count + 1) * sizeof(pyft_thread *);
    pyft_thread **threads = PyMem_Realloc(self->threads, size);
    pyft_thread *thread = NULL;
    if (threads != NULL) {
        self->threads = threads;
        thread = PyMem_Calloc(1, sizeof *thread);
    }
    if (thread == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    thread->counter = self;
    thread->id = PyThread_get_thread_ident();
    return self->threads[self->thread_count++] = thread;
}

/* Modes that are still somewhere on a stack pass everything through from now on. */
static void
end_thread(pyft_thread *thread)
{
    if (thread->mode != NULL) {
        pyft_mode_forget(thread->mode);
        Py_CLEAR(thread->mode);
    }
    pyft_scope_clear(thread);
    Py_CLEAR(thread->node);
    thread->records = thread->step_count = 0;
    thread->after_backward = false;
}

/* Autograd numbers the nodes of each thread from 0: a smaller number than before is a new thread.
 */
static int
begin_thread(pyft_thread *thread)
{
    long long sequence = pyft_torch_number(thread->counter->state->counting->torch.sequence);
    if (sequence == -2) {
        return -1;
    }
    if (pyft_scope_last(thread) > (uint64_t)sequence) {
        thread->interval_first = thread->interval_count = 0;
    }
    thread->graph_task = -1; /* autograd's first one is 0 */
    thread->sequence = 0;
    /* What was made outside of the block belongs to no module. */
    return pyft_scope_note(thread, (uint64_t)sequence, 0);
}

/* A mode for the calling thread, which Python enters; None once the block has ended. */
PyObject *
pyft_counter_new_mode(PyObject *object, PyObject *unused)
{
    (void)unused;
    pyft_counter *self = (pyft_counter *)object;
    if (!self->active) {
        Py_RETURN_NONE;
    }
    pyft_thread *thread = current_thread(self);
    if (thread == NULL && (thread = new_thread(self)) == NULL) {
        return NULL;
    }
    end_thread(thread); /* of an earlier block, or the same number given to a new thread */
    thread->mode = pyft_mode_new(self->state, thread);
    if (thread->mode == NULL || begin_thread(thread) < 0) {
        return NULL;
    }
    return Py_NewRef(thread->mode);
}

void
pyft_threads_end(pyft_counter *self)
{
    for (int i = 0; i < self->thread_count; i++) {
        end_thread(self->threads[i]);
    }
}

static void
free_thread(pyft_thread *thread)
{
    PyMem_Free(thread->scopes);
    PyMem_Free(thread->intervals);
    PyMem_Free(thread);
}

void
pyft_threads_free(pyft_counter *self)
{
    pyft_threads_end(self);
    for (int i = 0; i < self->thread_count; i++) {
        free_thread(self->threads[i]);
    }
    PyMem_Free(self->threads);
    self->threads = NULL;
    self->thread_count = 0;
}

/* What another thread is counting when the block ends is counted to its end. */
bool
pyft_threads_in_use(const pyft_counter *self)
{
    bool used = self->active;
    for (int i = 0; i < self->thread_count; i++) {
        used = used || self->threads[i]->users > 0;
    }
    return used;
}

/* What is called may end the block: the thread and its counter stay while they are held. */
void
pyft_thread_hold(pyft_thread *thread)
{
    thread->users++;
    Py_INCREF(thread->counter);
}

void
pyft_thread_release(pyft_thread *thread)
{
    thread->users--;
    Py_DECREF(thread->counter);
}

/* ---- hooks, called for every module of the process ---- */

PyObject *
pyft_counter_enter_module(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    pyft_thread *thread = count == 0 ? NULL : hold_counted((pyft_counter *)object);
    if (thread == NULL) {
        Py_RETURN_NONE;
    }
    int entered = pyft_scope_enter(thread, args[0]);
    pyft_thread_release(thread);
    return entered < 0 ? NULL : Py_NewRef(Py_None);
}

PyObject *
pyft_counter_leave_module(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    bool raised = count == 3; /* torch leaves the keyword arguments out then */
    pyft_thread *thread = count != 4 && !raised ? NULL : hold_counted((pyft_counter *)object);
    if (thread == NULL) {
        Py_RETURN_NONE;
    }
    int left =
        pyft_scope_leave(thread, args[0], args[1], raised ? Py_None : args[2], args[count - 1]);
    pyft_thread_release(thread);
    return left < 0 ? NULL : Py_NewRef(Py_None);
}

PyObject *
pyft_counter_enter_step(PyObject *object, PyObject *unused)
{
    (void)unused;
    pyft_counter *self = (pyft_counter *)object;
    pyft_thread *thread = hold_counted(self);
    if (thread == NULL) {
        Py_RETURN_NONE;
    }
    thread->records++;
    int entered = pyft_step_enter(thread, &self->state->counting->torch);
    pyft_thread_release(thread);
    return entered < 0 ? NULL : Py_NewRef(Py_None);
}
