#!/bin/bash
# A file includes only headers of its own layer or of layers to the left:
#     core <- dist <- model, optim <- data <- train <- tools
# Inside core, the small files stand below the tensor library. Every own header is named by its path from the root.
cd "$(dirname "$0")/../.." || exit 1
include='^[[:space:]]*#[[:space:]]*include[[:space:]]*"'

grep -rHnE "$include" core dist model optim data train tools --include='*.[ch]' --include='*.cu' --include='*.cuh' |
    awk -F'"' '
    BEGIN {
        split("core dist model optim data train tools", names, " ")
        split("0 1 2 2 3 4 5", ranks, " ")
        for (i in names) rank[names[i]] = ranks[i]
    }
    function fault(text) { split($1, place, ":"); print place[1] ":" place[2] ": includes \"" $2 "\": " text; faults++ }
    {
        split($1, where, "/"); from = where[1]
        split($2, parts, "/"); to = parts[1]
        if (!(to in rank)) fault("not the path of a header from the root")
        else if (rank[to] > rank[from] || (rank[to] == rank[from] && to != from)) fault(from " stands below or beside " to)
        else if (from == "core" && $1 ~ /^core\/[^\/]*$/ && $2 ~ /^core\/(tensor|kernels)\//) fault("the small core knows no tensors")
        files[$1] = 1; includes++
    }
    END { print includes " includes, " faults + 0 " faults"; exit !(includes > 10 && !faults) }'
