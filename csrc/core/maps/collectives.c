/* What the ranks of a distributed program send each other: torch.distributed, DTensor, FSDP. */
/* SPDX-License-Identifier: MIT */
#include "aten_rows.h"

#define SENT(op)                    \
    {                               \
        op, &ft_collective_free, 0, \
        {{0}}                       \
    }

const ft_map_row ft_map_collectives[] = {
    SENT("c10d._allgather_base"),
    SENT("c10d._reduce_scatter_base"),
    SENT("c10d.allgather"),
    SENT("c10d.allgather_coalesced"),
    SENT("c10d.allgather_into_tensor_coalesced"),
    SENT("c10d.allreduce"),
    SENT("c10d.allreduce_coalesced"),
    SENT("c10d.alltoall"),
    SENT("c10d.alltoall_base"),
    SENT("c10d.barrier"),
    SENT("c10d.broadcast"),
    SENT("c10d.check_for_nan"),
    SENT("c10d.gather"),
    SENT("c10d.monitored_barrier"),
    SENT("c10d.recv"),
    SENT("c10d.recv_any_source"),
    SENT("c10d.reduce"),
    SENT("c10d.reduce_scatter"),
    SENT("c10d.reduce_scatter_tensor_coalesced"),
    SENT("c10d.scatter"),
    SENT("c10d.send"),

    SENT("_c10d_functional._wrap_tensor_autograd"),
    SENT("_c10d_functional.all_gather_into_tensor"),
    SENT("_c10d_functional.all_gather_into_tensor_coalesced"),
    SENT("_c10d_functional.all_gather_into_tensor_out"),
    SENT("_c10d_functional.all_reduce"),
    SENT("_c10d_functional.all_reduce_coalesced"),
    SENT("_c10d_functional.all_to_all_single"),
    SENT("_c10d_functional.batch_p2p_ops"),
    SENT("_c10d_functional.broadcast"),
    SENT("_c10d_functional.irecv"),
    SENT("_c10d_functional.isend"),
    SENT("_c10d_functional.reduce_scatter_tensor"),
    SENT("_c10d_functional.reduce_scatter_tensor_coalesced"),
    SENT("_c10d_functional.reduce_scatter_tensor_out"),
    SENT("_c10d_functional.wait_tensor"),

    SENT("_c10d_functional_autograd.all_gather_into_tensor"),
    SENT("_c10d_functional_autograd.all_to_all_single"),
    SENT("_c10d_functional_autograd.reduce_scatter_tensor"),

    SENT("_dtensor.shard_dim_alltoall"),

    SENT("fsdp.all_gather_copy_in"),
    SENT("fsdp.chunk_cat"),
    SENT("fsdp.chunk_cat_mixed_dtype"),
    SENT("fsdp.copy"),
    SENT("fsdp.split_with_sizes_copy"),
};

const size_t ft_map_collectives_count = FT_COUNT_OF(ft_map_collectives);
