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
    return self->print_at & AT_EPOCH
               ? pyft_epochs_say(self,
                                 pyft_epoch_line(self->rank, epoch, self->tracker->log_wall_time))
               : 0;
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
    if (self->print_at & AT_BATCH) {
        ft_u128 so_far = self->tracker->run.ledger.current.flops_epoch;
        if (pyft_epochs_say(self, pyft_step_line(self->rank, step, so_far)) < 0) {
            return -1;
        }
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
