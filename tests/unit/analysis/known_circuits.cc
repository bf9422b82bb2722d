#include "tests/unit/analysis/known_circuits.h"

#include <ATen/ATen.h>

#include "core/base/rng.h"
#include "core/families/registry.h"
#include "core/model/weights.h"

namespace microtome::testing {
namespace {

// Writes weights as y = x W, [from, to], and stores them as [to, from].
class Compiler {
 public:
  Compiler(const Json& json, uint64_t seed) : config_(families::read_model_config(json, "config.json").config), rng_(seed) {
    const Family* family = families::builtin().find("microtome");
    weights_ = std::make_shared<ModelWeights>(*random_weights(*family, config_, at::kCPU, at::kFloat, seed));
    for (auto& [name, t] : weights_->tensors) t = at::zeros_like(t);
  }
  at::Tensor& at_(const std::string& name) { return weights_->tensors.at(name); }
  // weight[to, from] = value
  void set(const std::string& name, int64_t to, int64_t from, double value) { at_(name)[to][from].fill_(value); }
  // Random numbers in rows [to, to + rows), columns [from, from + columns).
  void random(const std::string& name, int64_t to, int64_t rows, int64_t from, int64_t columns, double size) {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c) set(name, to + r, from + c, size * rng_.normal());
  }
  // A head that reads everything and writes into the junk dimensions.
  void distractor(int64_t layer, int64_t head, int64_t k, int64_t v, int64_t reads, int64_t junk, int64_t junk_size, bool beta) {
    const std::string a = "blocks." + std::to_string(layer) + ".attn.";
    random(a + "q_proj.weight", head * k, k, 0, reads, 0.5);
    random(a + "k_proj.weight", head * k, k, 0, reads, 0.5);
    random(a + "v_proj.weight", head * v, v, 0, reads, 0.5);
    random(a + "o_proj.weight", junk, junk_size, head * v, v, 0.5);
    if (beta) random(a + "b_proj.weight", head, 1, 0, reads, 0.5);
  }
  std::unique_ptr<Model> model() { return std::make_unique<Model>(config_, weights_); }

 private:
  ModelConfig config_;
  std::shared_ptr<ModelWeights> weights_;
  Rng rng_;
};

Json softmax(int64_t heads, int64_t width) { return {{"kind", "softmax_attention"}, {"num_heads", heads}, {"head_dim", width}, {"scale", 1.0}}; }

Json base(int64_t vocab, int64_t d, int64_t positions, Json layers) {
  Json out = {{"model_type", "microtome"}, {"vocab_size", vocab}, {"d_model", d}, {"norm", {{"kind", "none"}}}, {"final_norm", {{"kind", "none"}}}, {"layers", std::move(layers)}};
  if (positions) out["learned_positions"] = out["context_length"] = positions;
  return out;
}

void previous_token_head(Compiler& c, int64_t positions, int64_t tokens, int64_t pos_at, int64_t prev_at, double sharpness) {
  const std::string a = "blocks.0.attn.";
  for (int64_t p = 0; p < positions; ++p) {
    c.set(a + "q_proj.weight", p, pos_at + p, sharpness);
    if (p + 1 < positions) c.set(a + "k_proj.weight", p + 1, pos_at + p, 1);     // the key of p answers the query of p + 1
  }
  for (int64_t t = 0; t < tokens; ++t) {
    c.set(a + "v_proj.weight", t, t, 1);
    c.set(a + "o_proj.weight", prev_at + t, t, 1);
  }
}

PromptPair pair(std::vector<int64_t> clean, std::vector<int64_t> corrupted, int64_t answer, int64_t wrong) {
  PromptPair p;
  p.clean_ids = std::move(clean);
  p.corrupted_ids = std::move(corrupted);
  p.answer_ids = {answer};
  p.wrong_ids = {wrong};
  return p;
}

// `count` different numbers below `below`.
std::vector<int64_t> draw(Rng& rng, int64_t count, int64_t below) {
  std::vector<int64_t> all;
  for (int64_t i = 0; i < below; ++i) all.push_back(i);
  rng.shuffle(all);
  all.resize(static_cast<size_t>(count));
  return all;
}

}  // namespace

// Stream: token (8) | position (8) | previous token (8) | answer (8) | junk (4).
KnownCircuit known_induction(const std::string& name, double sharpness) {
  constexpr int64_t T = 8, P = 8, kPos = 8, kPrev = 16, kOut = 24, kJunk = 32, D = 36, W = 8;
  Json layer = {{"mixer", softmax(3, W)}, {"channel", nullptr}};
  Compiler c(base(T, D, P, Json::array({layer, layer})), 11);
  for (int64_t t = 0; t < T; ++t) c.set("embed.weight", t, t, 1);
  for (int64_t p = 0; p < P; ++p) c.set("pos_embed.weight", p, kPos + p, 1);
  previous_token_head(c, P, T, kPos, kPrev, sharpness);
  for (int64_t h : {1, 2}) c.distractor(0, h, W, W, kPrev, kJunk, 4, false);
  const std::string a = "blocks.1.attn.";
  for (int64_t t = 0; t < T; ++t) {
    c.set(a + "q_proj.weight", t, t, sharpness);
    c.set(a + "k_proj.weight", t, kPrev + t, 1);
    c.set(a + "v_proj.weight", t, t, 1);
    c.set(a + "o_proj.weight", kOut + t, t, 1);
    c.set("unembed.weight", t, kOut + t, 6);
  }
  for (int64_t h : {1, 2}) c.distractor(1, h, W, W, kOut, kJunk, 4, false);
  c.random("unembed.weight", 0, T, kJunk, 4, kNoise);

  KnownCircuit out{name, c.model(), {}, {"input->a0.h0<v>", "a0.h0->a1.h0<k>", "input->a1.h0<q>", "input->a1.h0<v>", "a1.h0->logits"}, {"a0.h0", "a1.h0"}};
  out.data.name = "known_induction";
  Rng rng(5);
  for (int64_t i = 0; i < 24; ++i) {
    std::vector<int64_t> t = draw(rng, 6, T);
    // a b c d … then one of a, c again: what followed it is the answer.
    std::vector<int64_t> clean = {t[0], t[1], t[2], t[3], t[4], t[0]}, other = clean;
    if (i % 3 == 0) other[5] = t[2];                   // another query
    if (i % 3 == 1) std::swap(other[0], other[2]);     // another key before the answer
    if (i % 3 == 2) std::swap(other[1], other[3]);     // another value
    out.data.pairs.push_back(pair(clean, other, t[1], t[3]));
  }
  return out;
}

// Tokens: 8 directions x of the plane with y = +1 (0 … 7) and y = -1 (8 … 15), and the query x with y = 0 (16 … 23).
// Stream: x (2) | y (1) | prediction (1) | junk (4).
KnownCircuit known_descent() {
  constexpr int64_t D = 8, kOut = 3, kJunk = 4, K = 2, V = 2;
  Json layer = {{"mixer", {{"kind", "linear_attn"}, {"num_heads", 3}, {"head_k", K}, {"head_v", V}, {"feature_map", "identity"}, {"use_output_norm", false}}}, {"channel", nullptr}};
  Compiler c(base(24, D, 0, Json::array({layer, layer})), 12);
  for (int64_t t = 0; t < 24; ++t) {
    const double angle = 3.14159265358979 * static_cast<double>(t % 8) / 4;
    c.set("embed.weight", t, 0, std::cos(angle));
    c.set("embed.weight", t, 1, std::sin(angle));
    c.set("embed.weight", t, 2, t < 8 ? 1 : t < 16 ? -1 : 0);
  }
  for (int64_t h : {0, 1, 2}) c.distractor(0, h, K, V, 3, kJunk, 4, false);
  const std::string a = "blocks.1.attn.";
  for (int64_t i = 0; i < 2; ++i) {
    c.set(a + "q_proj.weight", i, i, 1);
    c.set(a + "k_proj.weight", i, i, 1);
  }
  c.set(a + "v_proj.weight", 0, 2, 1);
  c.set(a + "o_proj.weight", kOut, 0, 1);              // prediction: rate × sum of y_j x_j · x
  for (int64_t h : {1, 2}) c.distractor(1, h, K, V, 3, kJunk, 4, false);
  c.set("unembed.weight", 0, kOut, 1);
  c.set("unembed.weight", 8, kOut, -1);
  c.random("unembed.weight", 0, 24, kJunk, 4, kNoise);

  KnownCircuit out{"descent", c.model(), {}, {"input->a1.h0<q>", "input->a1.h0<k>", "input->a1.h0<v>", "a1.h0->logits"}, {"a1.h0"}};
  out.data.name = "known_descent";
  Rng rng(6);
  for (int64_t i = 0; i < 24; ++i) {
    // Labels of a line: y = sign of w · x, with examples near the query, so that the prediction is far from 0.
    const int64_t query = static_cast<int64_t>(rng.below(8));
    std::vector<int64_t> clean, other;
    for (int64_t k : {0, 1, 7, 2}) clean.push_back((query + k) % 8);
    clean.push_back(16 + query);
    other = clean;
    if (i % 3 == 0) other[4] = 16 + (query + 4) % 8;                             // the opposite query
    if (i % 3 == 1) for (int64_t j = 0; j < 4; ++j) other[static_cast<size_t>(j)] = (clean[static_cast<size_t>(j)] + 4) % 8;   // opposite examples
    if (i % 3 == 2) for (int64_t j = 0; j < 4; ++j) other[static_cast<size_t>(j)] = clean[static_cast<size_t>(j)] + 8;         // other labels
    out.data.pairs.push_back(pair(clean, other, 0, 8));
  }
  return out;
}

// Tokens: 4 keys, 4 values. Stream: token (8) | position (8) | previous token (8) | is a value (1) | answer (4) | junk (4).
KnownCircuit known_memory() {
  constexpr int64_t T = 8, P = 8, kPos = 8, kPrev = 16, kFlag = 24, kOut = 25, kJunk = 29, D = 33, W = 8;
  Json first = {{"mixer", softmax(3, W)}, {"channel", nullptr}};
  Json second = {{"mixer", {{"kind", "delta_rule"}, {"num_heads", 3}, {"head_k", 4}, {"head_v", 4}, {"use_short_conv", false}, {"use_output_norm", false}, {"qk_activation", "identity"}}}, {"channel", nullptr}};
  Compiler c(base(T, D, P, Json::array({first, second})), 13);
  for (int64_t t = 0; t < T; ++t) c.set("embed.weight", t, t, 1);
  for (int64_t t = 4; t < T; ++t) c.set("embed.weight", t, kFlag, 1);
  for (int64_t p = 0; p < P; ++p) c.set("pos_embed.weight", p, kPos + p, 1);
  previous_token_head(c, P, T, kPos, kPrev, 5);
  for (int64_t h : {1, 2}) c.distractor(0, h, W, W, kPrev, kJunk, 4, false);
  const std::string a = "blocks.1.attn.";
  for (int64_t k = 0; k < 4; ++k) {
    c.set(a + "q_proj.weight", k, k, 1);               // the key asked for
    c.set(a + "k_proj.weight", k, kPrev + k, 1);       // the key before this value
    c.set(a + "v_proj.weight", k, 4 + k, 2);
    c.set(a + "o_proj.weight", kOut + k, k, 1);
    c.set("unembed.weight", 4 + k, kOut + k, 6);
  }
  // The position adds up to one for every token, so it serves as the constant -3: values write, keys do not.
  for (int64_t p = 0; p < P; ++p) c.set(a + "b_proj.weight", 0, kPos + p, -3);
  c.set(a + "b_proj.weight", 0, kFlag, 6);
  for (int64_t h : {1, 2}) c.distractor(1, h, 4, 4, kOut, kJunk, 4, true);
  c.random("unembed.weight", 0, T, kJunk, 4, kNoise);

  KnownCircuit out{"memory", c.model(), {}, {"input->a0.h0<v>", "a0.h0->a1.h0<k>", "input->a1.h0<q>", "input->a1.h0<v>", "input->a1.h0<beta>", "a1.h0->logits"}, {"a0.h0", "a1.h0"}};
  out.data.name = "known_memory";
  Rng rng(7);
  for (int64_t i = 0; i < 32; ++i) {
    std::vector<int64_t> k = draw(rng, 4, 4), v = draw(rng, 4, 4);
    for (int64_t& x : v) x += 4;
    // k0 v0 k1 v1 k0 v2 k0 → v2: the second write takes the first one's place.
    std::vector<int64_t> clean = {k[0], v[0], k[1], v[1], k[0], v[2], k[0]}, other = clean;
    int64_t wrong = v[0];
    if (i % 4 == 0) { other[6] = k[1]; wrong = v[1]; }                           // another question
    if (i % 4 == 1) other[4] = k[2];                                             // another key: the first write stays
    if (i % 4 == 2) { other[5] = v[3]; wrong = v[3]; }                           // another value
    if (i % 4 == 3) other[5] = k[3];                                             // no value: nothing is written
    out.data.pairs.push_back(pair(clean, other, v[2], wrong));
  }
  return out;
}

}  // namespace microtome::testing
