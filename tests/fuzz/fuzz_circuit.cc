// Any text as a circuit file: what is accepted can be worked on, written, and read again the same.
#include "core/base/circuit_ops.h"
#include "core/io/circuit_file.h"
#include "tests/fuzz/fuzz_target.h"

namespace microtome::fuzz {

void repair(std::vector<uint8_t>&, Rng&) {}

}  // namespace microtome::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace microtome;
  const Result<Circuit> read = parse_circuit({reinterpret_cast<const char*>(data), size}, "input");
  if (!read) {
    fuzz::require_input_error(read.status());
    return 0;
  }
  const Circuit& c = read.value();
  const std::string text = circuit_to_mib(c);
  const Result<Circuit> back = parse_circuit(text, "written");
  fuzz::require(back.is_ok(), "what was written cannot be read: " + back.status().text());
  fuzz::require(circuit_to_mib(back.value()) == text, "the circuit changed");
  const PrunedCircuit pruned = prune_dead_ends(c);
  const CircuitCounts before = count_circuit(c), after = count_circuit(pruned.circuit);
  fuzz::require(after.edges + pruned.edges == before.edges, "pruned edges are not counted");
  fuzz::require(prune_dead_ends(pruned.circuit).edges == 0, "pruning twice prunes more");
  fuzz::require(compare_circuits(unite(c, pruned.circuit), c).edges.both == before.edges, "a union lost an edge");
  return 0;
}
