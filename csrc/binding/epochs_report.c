/* What ft(epochs, ...) prints and writes: a row and a line for each step and each epoch. */
/* SPDX-License-Identifier: MIT */
#include "epochs.h"

/* Steals text, which may be NULL with an exception set. */
int
pyft_epochs_say(epoch_iterator *self, PyObject *text)
{
    PyObject *done = NULL;
    if (text != NULL) {
        done = self->progress != NULL ? PyObject_CallMethod(self->progress, "write", "O", text)
                                      : pyft_call_helper("builtins", "print", "(O)", text);
    }
    Py_XDECREF(text);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int
print_batch(epoch_iterator *self, const ft_step *step)
{
    PyObject *batch = pyft_grouped_text(step->flops_batch);
    PyObject *epoch = pyft_si_text(self->tracker->run.ledger.current.flops_epoch),
             *total = pyft_si_text(step->flops_total_cum);
    PyObject *text = NULL;
    if (batch != NULL && epoch != NULL && total != NULL) {
        text = PyUnicode_FromFormat(
            "%Uepoch %u step %u%sbatch of %llu%s%U FLOPs%sepoch %U%stotal %U", self->rank,
            step->epoch, step->step, PYFT_DOT, (unsigned long long)step->batch_size, PYFT_DOT,
            batch, PYFT_DOT, epoch, PYFT_DOT, total);
    }
    Py_XDECREF(batch);
    Py_XDECREF(epoch);
    Py_XDECREF(total);
    return pyft_epochs_say(self, text);
}

static int
print_epoch(epoch_iterator *self, const ft_epoch *epoch)
{
    PyObject *flops = pyft_flops_text(epoch->flops_epoch);
    PyObject *total = pyft_si_text(epoch->flops_total_cum);
    char *loss = PyOS_double_to_string(epoch->loss, 'g', 4, 0, NULL);
    char *seconds = PyOS_double_to_string(epoch->wall_time_s, 'f', 2, 0, NULL);
    PyObject *text = NULL;
    if (flops != NULL && total != NULL && loss != NULL && seconds != NULL) {
        bool timed = self->tracker->log_wall_time, has_loss = epoch->has_loss;
        text =
            PyUnicode_FromFormat("%Uepoch %u%s%U%stotal %U%s%s%s%s%s%s", self->rank, epoch->epoch,
                                 PYFT_DOT, flops, PYFT_DOT, total, has_loss ? PYFT_DOT "loss " : "",
                                 has_loss ? loss : "", timed ? PYFT_DOT : "", timed ? seconds : "",
                                 timed ? " s" : "", epoch->complete ? "" : PYFT_DOT "broken off");
    }
    PyMem_Free(loss);
    PyMem_Free(seconds);
    Py_XDECREF(flops);
    Py_XDECREF(total);
    return pyft_epochs_say(self, text);
}

/* Writes and prints an epoch that has ended. */
int
pyft_epochs_report(epoch_iterator *self, const ft_epoch *epoch)
{
    if (self->epoch_file != NULL) {
        ft_status status = ft_csv_epoch(pyft_file_sink(self->epoch_file), epoch);
        if (status != FT_OK) {
            pyft_raise(status, "ending the epoch");
            return -1;
        }
    }
    return self->print_at & AT_EPOCH ? print_epoch(self, epoch) : 0;
}

int
pyft_epochs_report_step(PyObject *iterator, const ft_step *step)
{
    epoch_iterator *self = (epoch_iterator *)iterator;
    if (self->batch_file != NULL) {
        ft_status status = ft_csv_step(pyft_file_sink(self->batch_file), step,
                                       self->tracker->run.ledger.current.flops_epoch);
        if (status != FT_OK) {
            pyft_raise(status, "writing a row of the batch CSV");
            return -1;
        }
    }
    if (self->print_at & AT_BATCH && print_batch(self, step) < 0) {
        return -1;
    }
    if (self->progress == NULL) {
        return 0;
    }
    PyObject *total = pyft_from_u128(step->flops_total_cum);
    PyObject *done = total == NULL ? NULL
                                   : PyObject_CallMethod(self->progress, "update", "IO",
                                                         (unsigned int)step->epoch, total);
    Py_XDECREF(total);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}
