/* The tables of closed forms, and the words in which they are written. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_CLOSED_MAPS_H
#define FT_CLOSED_MAPS_H

#include "../formulas/formulas.h"
#include "../ft_closed.h"

/* Of matrix products, convolutions, attention and recurrent layers; of all else; of models. */
extern const ft_closed_form ft_closed_contractions[], ft_closed_others[], ft_closed_models[];
extern const size_t ft_closed_contractions_count, ft_closed_others_count, ft_closed_models_count;

#define FT_FORM(name_, formula_, arguments_, operands_, example_, about_)             \
    {                                                                                 \
        .name = name_, .about = about_, .arguments = arguments_, .example = example_, \
        .terms = (const ft_term[])                                                    \
        {                                                                             \
            {&formula_, operands_, NULL},                                             \
            {                                                                         \
                NULL, NULL, NULL                                                      \
            }                                                                         \
        }                                                                             \
    }

#endif
