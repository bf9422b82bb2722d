// node_names.h — nodes of a model's graph as a person writes them: "input", "a4.h0" (or "4.0"), "a4.h0<q>", "m3", "logits".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/model/model.h"

namespace microtome::engine {

struct NodeName {
  enum class Kind { kInput, kHead, kMlp, kLogits };
  Kind kind = Kind::kLogits;
  int64_t layer = -1, head = -1;       // -1 where the kind has none
  std::string role;                    // a head's input: "q", "k", "v", "beta" …; empty: none named
  std::string text() const;            // as circuit files write it: "a4.h0<q>"
  std::string spoken() const;          // "head 4.0", "the q input of head 4.0", "MLP 3", "the logits"
  bool operator==(const NodeName&) const = default;
};

// Throws Error(kBadInput) naming the parameter and the range: another spelling, a layer, head, MLP or role that the model
// does not have.
NodeName parse_node(const Model& model, const std::string& text, const std::string& param);
// Names with commas between, blanks around them ignored; empty text gives none. Twice the same is an error.
std::vector<NodeName> parse_nodes(const Model& model, const std::string& text, const std::string& param);

}  // namespace microtome::engine
