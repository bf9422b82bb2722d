// model_config.h — what any supported model is, whatever its family: an embedding, a stack of blocks (norm, token mixer,
// norm, channel mixer), a final norm, an unembedding. Families translate config.json into this. Free of LibTorch.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/params.h"

namespace microtome {

struct NormConfig {
  enum class Kind { kRms, kLayer, kNone };   // kNone: the input itself, and no hook points
  Kind kind = Kind::kRms;
  double eps = 1e-6;
  bool weight = true;
  bool bias = false;
  double offset = 0;                   // added to the stored weight (Gemma stores the gain minus 1)
};

// A channel mixer that is many: a router gives each token's weights over the experts, the best of them run, and their
// outputs are added with these weights.
struct ExpertsConfig {
  enum class Scores { kSoftmax, kSigmoid };
  int64_t count = 0;                   // 0: one dense channel mixer
  int64_t per_token = 1;
  int64_t d_expert = 0;                // width of one expert
  Scores scores = Scores::kSoftmax;    // of the router's logits, over all experts
  bool renormalize = false;            // the chosen experts' scores are divided by their sum
  double scale = 1;                    // of the routed output
  bool correction = false;             // mlp.router.correction [expert] is added where experts are chosen, not where weighed
  int64_t groups = 1, groups_kept = 1; // experts are chosen from that many groups, ranked by the sum of their two best
  int64_t d_shared = 0;                // width of an expert that every token passes; 0: none
  bool shared_gate = false;            // its output times sigmoid(mlp.shared_gate.weight x)
};

struct ChannelMixerConfig {
  int64_t d_mlp = 0;                   // 0: the block has none
  std::string activation = "silu";     // silu, gelu (exact), gelu_new (tanh), relu, relu2 (relu squared)
  bool gated = true;                   // act(gate x) * (up x); else act(up x)
  bool bias = false;
  // Reads a mix of its input x and of the one before it, x': kToEarlier x + (x' - x) w, kToCurrent x w + x' (1 - w),
  // weight mlp.shift.up [d_model]. Such a mixer keeps one input between runs.
  enum class Shift { kNone, kToEarlier, kToCurrent };
  Shift shift = Shift::kNone;
  bool receptance = false;             // the output times sigmoid(mlp.receptance.weight x), x mixed by mlp.shift.receptance
  double gate_scale = 1, down_scale = 1;   // of the gate's pre-activation and of the output (Falcon-H1's multipliers)
  ExpertsConfig experts = {};          // where count > 0, d_mlp is theirs
};

// How a block joins its two parts to the residual stream x:
//   kSequential  x += mix(ln1 x), then x += mlp(ln2 x)
//   kParallel    x += mix(ln1 x) + mlp(ln2 x); there is no hook_resid_mid
//   kPostNorm    x = ln1(x + mix(x)), then x = ln2(x + mlp(x)): the stream itself is what the norms give (BERT)
enum class Wiring { kSequential, kParallel, kPostNorm };

struct LayerConfig {
  std::string mixer;                   // a mixer kind: "softmax_attention", "gated_delta_rule" …
  Params mixer_params;
  NormConfig norm1, norm2;
  std::optional<NormConfig> post1, post2;   // of a part's output, before it joins the stream (ln1_post, ln2_post)
  Wiring wiring = Wiring::kSequential;
  // x = keep x' + add part, a part each; x' is x, or with normed_stream what the part's norm made of it (MiniMax).
  double keep1 = 1, add1 = 1, keep2 = 1, add2 = 1;
  bool normed_stream = false;
  ChannelMixerConfig channel;
};

struct ModelConfig {
  std::string family, name;            // name: the folder's
  int64_t d_model = 0, vocab_size = 0, context_length = 0;   // context_length 0: no bound
  bool hard_context = false;           // true: positions beyond it do not exist (learned positions)
  int64_t learned_positions = 0;       // rows of the position table; 0: none
  int64_t token_types = 0;             // rows of a table of token types; every token is of the first (BERT). 0: none
  double embed_scale = 1;              // of the token embeddings, before anything is added
  bool tied_unembedding = false;
  bool unembedding_bias = false;
  std::optional<NormConfig> embed_norm;   // of the embeddings, before the first block
  std::string head_activation;         // "": none; else h = act(head.weight x + head.bias) before the final norm (BERT)
  NormConfig final_norm;
  double logit_scale = 1;
  double logit_softcap = 0;            // c tanh(logit / c); 0: none
  std::vector<LayerConfig> layers;
  // The layers are that many rounds through the same weights: layer i has those of layer i mod (layers / loops).
  int64_t loops = 1;
  std::optional<int64_t> bos_id, eos_id;
  std::string stored_dtype;            // as config.json says, for information

  // False where some position sees later ones: such a model keeps no state and does not generate.
  bool causal() const;
};

// Throws Error(kBadInput) naming the field when sizes are senseless (non-positive, beyond what any file could hold).
void check_config(const ModelConfig& config, const std::string& where);

}  // namespace microtome
