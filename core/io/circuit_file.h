// circuit_file.h — circuits as the JSON of the MIB benchmark (arXiv 2504.13151; the form of the EAP-IG code, 2403.17806):
//   {"cfg": {"n_layers", "n_heads", "parallel_attn_mlp", "d_model"}, "nodes": {NAME: {"in_graph": bool, "score": x}},
//    "edges": {"input->a0.h0<q>": {"score": x, "in_graph": bool}}}
// Ours beyond that, which other readers pass over: cfg.extensions names inputs other than q, k, v ("<beta>") and "a{l}"
// where a token mixer is one node; "microtome" holds name, title and groups. A score that is not a number is null;
// infinite ones are written as Python's json does (Infinity).
//
// Read as well: nodes as a bare bool; edges as a bare bool or number (a number belongs to the circuit); scores that are
// absent (NaN); no "nodes" at all (they are made of the edges). Unknown keys of objects are passed over. Names must be of
// the forms of analyses.md, within the cfg's layers and heads where it gives them, and edges must lead forward. What is
// written reads back the same, bit by bit. All may be called from any thread.
#pragma once

#include <string>
#include <string_view>

#include "core/base/artifact.h"
#include "core/base/status.h"

namespace microtome {

constexpr size_t kCircuitFileBytes = size_t{256} << 20;
constexpr size_t kMostCircuitNodes = 200'000, kMostCircuitEdges = 4'000'000, kMostCircuitGroups = 10'000;
constexpr size_t kMostGroupName = 200;   // bytes

// kBadInput naming `where` and the key.
Result<Circuit> parse_circuit(std::string_view text, const std::string& where);
Result<Circuit> read_circuit_file(const std::string& path);

// Throws Error(kBadInput) for what the form cannot hold: names of other forms, a node or an edge twice.
std::string circuit_to_mib(const Circuit& circuit);
// Whole or absent (a temporary neighbour, then renamed).
Status write_circuit_file(const std::string& path, const Circuit& circuit);

}  // namespace microtome
