/* Formatting of CSV lines, the same under every locale. */
/* SPDX-License-Identifier: MIT */
#include "ft_csv.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The longest line is three counts of 39 digits and four numbers of at most 20. */
typedef struct {
    char text[256];
    size_t length;
} line;

static void
put_text(line *out, const char *text, size_t length)
{
    memcpy(out->text + out->length, text, length);
    out->length += length;
}

static void
put_count(line *out, ft_u128 count, char after)
{
    char text[FT_U128_TEXT_SIZE];
    put_text(out, text, ft_u128_text(count, text));
    put_text(out, &after, 1);
}

static void
put_number(line *out, uint64_t number, char after)
{
    put_count(out, ft_u128_of(number), after);
}

/* Whole microseconds: no locale can turn this point into a comma. */
static void
put_seconds(line *out, double seconds, char after)
{
    double microseconds = seconds > 0 && seconds < 1e12 ? floor(seconds * 1e6 + 0.5) : 0;
    uint64_t whole = (uint64_t)microseconds / 1000000, rest = (uint64_t)microseconds % 1000000;
    put_number(out, whole, '.');
    for (uint64_t unit = 100000; unit > 0; unit /= 10) {
        char digit = (char)('0' + rest / unit % 10);
        put_text(out, &digit, 1);
    }
    put_text(out, &after, 1);
}

/* Nine digits give a 32-bit float back exactly. Whatever the locale's decimal point is, and it may
 * be several bytes long, becomes a point. */
static void
put_loss(line *out, const ft_epoch *epoch, char after)
{
    char text[40];
    bool in_point = false;
    double loss = isnan(epoch->loss) ? fabs(epoch->loss) : epoch->loss; /* no "-nan" */
    int length = epoch->has_loss ? snprintf(text, sizeof text, "%.9g", loss) : 0;
    for (int i = 0; i < length; i++) {
        bool plain = strchr("0123456789+-einfa", text[i]) != NULL;
        if (plain) {
            put_text(out, &text[i], 1);
        }
        else if (!in_point) {
            put_text(out, ".", 1);
        }
        in_point = !plain;
    }
    put_text(out, &after, 1);
}

static ft_status
write_line(ft_sink sink, const line *out)
{
    return sink.write(sink.context, out->text, out->length);
}

ft_status
ft_csv_step(ft_sink sink, const ft_step *step, ft_u128 flops_epoch_cum)
{
    line out = {.length = 0};
    put_number(&out, step->epoch, ',');
    put_number(&out, step->step, ',');
    put_number(&out, step->batch_size, ',');
    put_count(&out, step->flops_batch, ',');
    put_count(&out, flops_epoch_cum, ',');
    put_count(&out, step->flops_total_cum, ',');
    put_seconds(&out, step->wall_time_s, '\n');
    return write_line(sink, &out);
}

ft_status
ft_csv_epoch(ft_sink sink, const ft_epoch *epoch)
{
    line out = {.length = 0};
    put_number(&out, epoch->epoch, ',');
    put_count(&out, epoch->flops_epoch, ',');
    put_count(&out, epoch->flops_total_cum, ',');
    put_number(&out, epoch->batches, ',');
    put_number(&out, epoch->samples, ',');
    put_loss(&out, epoch, ',');
    put_seconds(&out, epoch->wall_time_s, ',');
    put_number(&out, epoch->complete, '\n');
    return write_line(sink, &out);
}

ft_status
ft_csv_steps_from(ft_sink sink, const ft_ledger *ledger, uint32_t epoch, uint32_t step)
{
    size_t i = ft_ledger_step_from(ledger, epoch, step);
    ft_status status = FT_OK;
    for (; i < ledger->step_count && status == FT_OK; i++) {
        status = ft_csv_step(sink, &ledger->steps->rows[i], ft_ledger_epoch_cum(ledger, i));
    }
    return status;
}

ft_status
ft_csv_epochs_from(ft_sink sink, const ft_ledger *ledger, uint32_t epoch)
{
    ft_status status = FT_OK;
    for (size_t i = 0; i < ledger->epoch_count && status == FT_OK; i++) {
        if (ledger->epochs[i].epoch >= epoch) {
            status = ft_csv_epoch(sink, &ledger->epochs[i]);
        }
    }
    return status;
}

ft_status
ft_csv_all_steps(ft_sink sink, const ft_ledger *ledger)
{
    ft_status status = sink.write(sink.context, FT_CSV_STEP_HEADER, sizeof FT_CSV_STEP_HEADER - 1);
    return status == FT_OK ? ft_csv_steps_from(sink, ledger, 0, 0) : status;
}

ft_status
ft_csv_all_epochs(ft_sink sink, const ft_ledger *ledger)
{
    ft_status status =
        sink.write(sink.context, FT_CSV_EPOCH_HEADER, sizeof FT_CSV_EPOCH_HEADER - 1);
    return status == FT_OK ? ft_csv_epochs_from(sink, ledger, 0) : status;
}
