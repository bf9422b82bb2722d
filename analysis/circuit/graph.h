// graph.h — a model as a graph of what writes into the residual stream and what reads it (analyses.md, "Circuits"; the
// notation of arXiv 2310.10348, 2403.17806, 2504.13151).
//
// Sources, in the order they write:   input, a0.h0 … a0.h3, m0, a1.h0 …
// Inputs, in the order they read:     a0.h0<q> … a0.h3<q>, a0.h0<k> …, m0, a1.h0<q> …, logits
// An edge leads from every source to every input that reads after it: sources[0 … input.sources). A head has an input a
// role of its mixer: q, k, v, and in recurrent layers beta, decay, gate, and q_conv, k_conv, v_conv for what a short
// convolution takes from earlier tokens. k and v belong to query heads (grouped heads are ungrouped). A mixer whose heads
// cannot be told apart by their inputs (they read the stream beside them, or are channels) is one node `a{l}`.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/base/artifact.h"
#include "core/model/model.h"

namespace microtome::circuit {

enum class NodeKind { kInput, kHead, kMixer, kMlp, kLogits };

struct Source {
  NodeKind kind = NodeKind::kInput;
  int64_t layer = -1, head = -1;
  std::string name;
};

struct Input {
  NodeKind kind = NodeKind::kLogits;
  int64_t layer = -1, head = -1;
  std::string role;                    // of heads: "q" …
  std::string name;                    // "a1.h0<q>", "m2", "a3", "logits"
  int64_t sources = 0;                 // edges come from the first that many sources
  int64_t node = -1;                   // index of the source that this input feeds; -1: logits
};

// Inputs that one hook point makes, and sources that one hook point gives: what a run is changed and read by.
struct Readers {
  std::string hook;                    // "blocks.1.hook_q_input", "blocks.1.hook_mlp_in", the last hook_resid_post
  int64_t layer = 0, first = 0, count = 1, sources = 0;
  bool by_head = false;                // the point has a head axis
};
struct Writers {
  std::string hook;                    // "blocks.1.attn.hook_result", "blocks.1.hook_mlp_out", "blocks.0.hook_resid_pre"
  int64_t layer = 0, first = 0, count = 1;
  bool by_head = false;
};

// Immutable; the model outlives it.
class Graph {
 public:
  // Tries each kind of layer with a few tokens to see whether its heads can be told apart. Throws Error(kUnsupported) where the
  // residual stream is no sum of what layers write (BERT, MiniMax).
  explicit Graph(const Model& model);

  const Model& model() const { return model_; }
  const std::vector<Source>& sources() const { return sources_; }
  const std::vector<Input>& inputs() const { return inputs_; }
  const std::vector<Readers>& readers() const { return readers_; }
  const std::vector<Writers>& writers() const { return writers_; }
  int64_t source_count() const { return static_cast<int64_t>(sources_.size()); }
  int64_t input_count() const { return static_cast<int64_t>(inputs_.size()); }
  int64_t edge_count() const { return edges_; }
  // Index by name; -1: no such.
  int64_t find_source(const std::string& name) const;
  int64_t find_input(const std::string& name) const;
  std::vector<std::string> source_names() const;
  std::vector<std::string> input_names() const;
  // How many sources are written before layer l begins.
  int64_t sources_before(int64_t layer) const { return before_.at(static_cast<size_t>(layer)); }
  at::Tensor possible() const;         // bool [source, input], on the CPU
  // One sentence for layers that are single nodes; empty: there are none.
  const std::string& note() const { return note_; }

  // All edges with their scores; inside: bool [source, input]. Nodes are in the graph when they have an edge inside.
  // scores [source, input] float64 on the CPU.
  Circuit to_circuit(std::string name, std::string title, const at::Tensor& scores, const at::Tensor& inside) const;
  // bool [source, input] of the edges that the circuit names with in_graph. An edge at a node that is given with
  // in_graph = false is outside. Throws Error(kBadInput) for a name that this model has not.
  at::Tensor inside_of(const Circuit& circuit, const std::string& where) const;
  // Scores of a circuit's edges [source, input], float64; NaN where it gives none.
  at::Tensor scores_of(const Circuit& circuit, const std::string& where) const;

 private:
  void add_layer(int64_t layer);
  bool heads_apart(int64_t layer, std::string& why);
  bool try_heads(int64_t layer) const;
  void add_readers(Readers r, NodeKind kind, const std::string& role, int64_t first_source);

  const Model& model_;
  std::vector<Source> sources_;
  std::vector<Input> inputs_;
  std::vector<Readers> readers_;
  std::vector<Writers> writers_;
  std::vector<int64_t> before_;
  std::unordered_map<std::string, int64_t> source_index_, input_index_;
  int64_t edges_ = 0;
  std::map<std::string, bool> tried_;  // by kind of mixer and its settings: weights cannot change what reads what
  std::string note_;
};

}  // namespace microtome::circuit
