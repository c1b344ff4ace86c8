#!/bin/bash
# A file includes only headers of its own layer or of layers to the left:
#     core <- dist <- model, optim <- data <- train <- tools
# Inside core, the small files stand below the tensor library. Every own header is named by its path from the root.
#
# And there are no cycles: between headers, by what they include; between sources, by what one calls of another (nm of the
# libraries in the build folder); between folders, by both. `known` lists those that are still there. It only shrinks: a
# cycle that is not listed is a fault, and one that is listed and gone is, too.
cd "$(dirname "$0")/../.." || exit 1
python3 - "$1" << 'P'
import collections, glob, os, re, subprocess, sys

known = """
"""
rank = {"core": 0, "dist": 1, "model": 2, "optim": 2, "data": 3, "train": 4, "tools": 5}
faults = []
needs = collections.defaultdict(set)  # file -> headers of headers, sources of sources
folders = collections.defaultdict(set)


def need(file, other):
    if file != other:
        needs[file].add(other)
    at, to = os.path.dirname(file) + "/", os.path.dirname(other) + "/"
    if at != to and at.split("/")[0] == to.split("/")[0]:
        folders[at].add(to)


files = [f for layer in rank for f in glob.glob(layer + "/**/*", recursive=True) if re.search(r"\.(c|h|cu|cuh)$", f)]
includes = 0
for file in files:
    for number, line in enumerate(open(file, encoding="utf-8"), 1):
        found = re.match(r'\s*#\s*include\s*"([^"]*)"', line)
        if not found:
            continue
        includes += 1
        header = found[1]
        layer, to = file.split("/")[0], header.split("/")[0]
        fault = None
        if to not in rank or not os.path.exists(header):
            fault = "not the path of a header from the root"
        elif to != layer and rank[to] >= rank[layer]:
            fault = f"{layer} stands below or beside {to}"
        elif re.match(r"core/[^/]*$", file) and re.match("core/(tensor|kernels)/", header):
            fault = "the small core knows no tensors"
        if fault:
            faults.append(f'{file}:{number}: includes "{header}": {fault}')
        need(file, header)

# Libraries name their members without folders; the objects beside them have both.
defines, calls = {}, collections.defaultdict(set)
objects = [o for layer in rank for o in glob.glob(f"{sys.argv[1]}/CMakeFiles/cm3_{layer}.dir/**/*.c.o", recursive=True)]
objects = [o for o in objects if re.sub(r".*\.dir/(.*)\.o$", r"\1", o) in files]  # not those of files that went
for line in subprocess.run(["nm", "-A", *objects], capture_output=True, text=True, check=True).stdout.splitlines():
    object_, kind, name = re.match(r"(.*\.o):[0-9a-f ]*(\w) (\S+)", line).groups()
    source = re.sub(r".*\.dir/(.*)\.o$", r"\1", object_)
    if kind == "U":
        calls[source].add(name)
    elif kind.isupper():
        defines.setdefault(name, source)
for source, names in calls.items():
    for name in names & defines.keys():
        need(source, defines[name])


def cycles(graph):
    """Strongly connected components of more than one node (Tarjan)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for node in list(graph):
        if node not in index:
            visit(node)
    return found


there = [(" ".join(c), graph, c) for graph in (needs, folders) for c in cycles(graph)]
listed = known.strip().splitlines()
for name, graph, members in there:
    if name not in listed:
        faults.append(f"a cycle: {name}")
        faults += [f"    {a} needs {b}" for a in members for b in sorted(graph[a] & set(members))]
faults += [f"no cycle any more, or a smaller one; change the list: {k}" for k in listed if k not in [t[0] for t in there]]
print("\n".join(faults + [f"{includes} includes, {len(objects)} sources, {len(there)} known cycles, {len(faults)} faults"]))
sys.exit(not (includes > 10 and len(objects) > 10 and not faults))
P
