// discrete_sae_circuit: gradients against differences, codes of planted clusters, overlaps and ROC area by hand, and a model
// whose heads are known to differ.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "analysis/circuit/graph.h"
#include "analysis/discrete_sae_circuit/autoencoder.h"
#include "analysis/discrete_sae_circuit/overlap.h"
#include "analysis/engine/roc.h"
#include "core/base/rng.h"
#include "core/io/circuit_file.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"
#include "tests/run_whole.h"

namespace microtome {
namespace {

using namespace analyses;
using testing::array_of;
using testing::run_whole;

at::Tensor draw(int64_t rows, int64_t columns, uint64_t seed) {
  Rng rng(seed);
  at::Tensor out = at::empty({rows, columns}, at::kDouble);
  for (int64_t i = 0; i < out.numel(); ++i) out.mutable_data_ptr<double>()[i] = rng.normal();
  return out;
}

TEST(DiscreteAutoencoder, GradientIsThatOfTheLoss) {
  DiscreteAutoencoder sae;
  sae.encoder = draw(5, 3, 1);
  sae.encoder_bias = draw(1, 5, 2)[0];
  sae.decoder = draw(5, 3, 3);
  sae.decoder_bias = draw(1, 3, 4)[0];
  at::Tensor x = draw(7, 3, 5);
  const double l1 = 0.3, h = 1e-6;
  AutoencoderLoss g = loss_and_gradient(sae, x, l1);
  // The loss itself, as the definition has it.
  at::Tensor f = at::relu(at::matmul(x, sae.encoder.t()) + sae.encoder_bias), out = at::matmul(f, sae.decoder) + sae.decoder_bias;
  EXPECT_NEAR(g.loss, ((out - x).square().sum(1) + l1 * f.sum(1)).mean().item<double>(), 1e-12);
  for (auto [name, parameter, gradient] : {std::tuple<const char*, at::Tensor*, at::Tensor*>{"encoder", &sae.encoder, &g.encoder},
                                           {"encoder_bias", &sae.encoder_bias, &g.encoder_bias},
                                           {"decoder", &sae.decoder, &g.decoder}, {"decoder_bias", &sae.decoder_bias, &g.decoder_bias}})
    for (int64_t i = 0; i < parameter->numel(); ++i) {
      double& v = parameter->mutable_data_ptr<double>()[i];
      double kept = v;
      v = kept + h;
      double up = loss_and_gradient(sae, x, l1).loss;
      v = kept - h;
      double down = loss_and_gradient(sae, x, l1).loss;
      v = kept;
      EXPECT_NEAR(gradient->contiguous().const_data_ptr<double>()[i], (up - down) / (2 * h), 1e-6) << name << " " << i;
    }
}

TEST(DiscreteAutoencoder, ClustersGetCodesOfTheirOwn) {
  at::Tensor centres = draw(4, 12, 6), noise = draw(200, 12, 7) * 0.02;
  std::vector<int64_t> which;
  for (int64_t i = 0; i < 200; ++i) which.push_back(i % 4);
  at::Tensor x = centres.index_select(0, at::tensor(which, at::kLong)) + noise;
  Progress progress;
  AutoencoderOptions o;
  o.codes = 16;
  o.seed = 3;
  DiscreteAutoencoder sae = train(x, o, progress);
  AutoencoderOptions untrained = o;
  untrained.steps = 0;
  EXPECT_LT(unexplained(sae, x), 0.1);
  EXPECT_GT(unexplained(train(x, untrained, progress), x), 0.1);
  EXPECT_GE(active(sae, x), 0.5);
  at::Tensor codes = sae.codes(x);
  std::set<int64_t> seen;
  for (int64_t c = 0; c < 4; ++c) seen.insert(codes[c].item<int64_t>());
  EXPECT_EQ(seen.size(), 4u);
  for (int64_t i = 4; i < 200; ++i) EXPECT_EQ(codes[i].item<int64_t>(), codes[i % 4].item<int64_t>()) << i;
  EXPECT_TRUE(train(x, o, progress).encoder.equal(sae.encoder));
}

TEST(CodeOverlap, CountsByHand) {
  Overlap o = code_overlap({1, 1, 2, 3}, {3, 4, 4, 4});       // 1 and 2 of 1, 2, 3, 4
  EXPECT_EQ(o.unique, 2);
  EXPECT_EQ(o.all, 4);
  EXPECT_DOUBLE_EQ(o.score(), 0.5);
  EXPECT_DOUBLE_EQ(code_overlap({5, 5}, {5, 5}).score(), 0);
  EXPECT_DOUBLE_EQ(code_overlap({1, 2}, {3, 3}).score(), 2.0 / 3);
  // Each head alone has no unique code, their pairs have two of four: (1,2) and (2,1) against (1,1) and (2,2).
  Overlap p = pair_overlap({1, 2}, {2, 1}, {1, 2}, {1, 2});
  EXPECT_EQ(p.unique, 2);
  EXPECT_EQ(p.all, 4);
}

TEST(RocArea, ByHand) {
  EXPECT_DOUBLE_EQ(engine::roc_curve({0.9, 0.8, 0.1}, {true, true, false}).area, 1);
  EXPECT_DOUBLE_EQ(engine::roc_curve({0.9, 0.5, 0.5, 0.1}, {false, true, false, true}).area, 0.125);   // of 4 pairs only one ties
  EXPECT_TRUE(std::isnan(engine::roc_curve({1, 2}, {true, true}).area));
}

Dataset pairs(const Model& m, bool alike) {
  Dataset d = testing::dataset_of(testing::random_ids(12, 8, m.config().vocab_size, 5));
  Dataset other = testing::dataset_of(testing::random_ids(12, 8, m.config().vocab_size, 9));
  for (size_t i = 0; i < d.pairs.size(); ++i) d.pairs[i].corrupted_ids = alike ? d.pairs[i].clean_ids : other.pairs[i].clean_ids;
  return d;
}

TEST(DiscreteSaeCircuit, PromptsThatAreAlikeHaveNoUniqueCodes) {
  auto m = testing::load_test_model(testing::golden_path("golden/models/fla-hybrid-gated_deltanet-swa"));
  AnalysisResult r = run_whole("discrete_sae_circuit", *m, pairs(*m, true));
  EXPECT_EQ(array_of(r, "score").nan_to_num().abs().max().item<double>(), 0);
  for (const Artifact& a : r.artifacts)
    if (const auto* c = std::get_if<Circuit>(&a))
      for (const Circuit::Node& n : c->nodes) EXPECT_FALSE(n.in_graph);
}

TEST(DiscreteSaeCircuit, ScoresCircuitAndReferenceFollowFromTheCodes) {
  auto m = testing::load_test_model(testing::golden_path("golden/models/hf-llama"));
  for (const char* positions : {"last", "all"}) {
    AnalysisResult r = run_whole("discrete_sae_circuit", *m, pairs(*m, false), {{"reference", "1.0,1.1"}, {"positions", positions}, {"codes", "12"}});
    at::Tensor codes = array_of(r, "codes"), score = array_of(r, "score");
    ASSERT_EQ(codes.size(3), *positions == 'l' ? 12 : 96);
    auto list = [](const at::Tensor& t) {
      at::Tensor c = t.contiguous();
      return std::vector<int64_t>(c.const_data_ptr<int64_t>(), c.const_data_ptr<int64_t>() + c.numel());
    };
    std::vector<double> all;
    std::vector<bool> in;
    for (int64_t l = 0; l < score.size(0); ++l)
      for (int64_t h = 0; h < score.size(1); ++h) {
        double want = code_overlap(list(codes[l][h][0]), list(codes[l][h][1])).score();
        EXPECT_DOUBLE_EQ(score[l][h].item<double>(), want);
        all.push_back(want);
        in.push_back(l == 1 && h < 2);
      }
    EXPECT_GT(score.max().item<double>(), 0);
    double area = NAN;
    for (const SummaryItem& s : r.summary)
      if (s.name == "roc_area") area = s.value;
    EXPECT_DOUBLE_EQ(area, engine::roc_curve(all, in).area);
    for (const Artifact& a : r.artifacts)
      if (const auto* c = std::get_if<Circuit>(&a)) {
        size_t i = 0;
        for (const Circuit::Node& n : c->nodes) {
          if (i < all.size()) EXPECT_EQ(n.in_graph, all[i] >= 0.5 * score.max().item<double>()) << n.name;
          ++i;
        }
        // A circuit that the file form holds and that can be run on the model.
        EXPECT_NO_THROW(circuit_to_mib(*c));
        circuit::Graph graph(*m);
        at::Tensor inside = graph.inside_of(*c, "the circuit");
        EXPECT_GT(inside.sum().item<int64_t>(), 0);
        for (const Circuit::Node& n : c->nodes)
          if (n.in_graph && graph.find_source(n.name) > 0) EXPECT_TRUE(inside[graph.find_source(n.name)][graph.find_input("logits")].item<bool>()) << n.name;
      }
  }
  EXPECT_THROW(run_whole("discrete_sae_circuit", *m, pairs(*m, false), {{"reference", "m0"}}), Error);
  EXPECT_THROW(run_whole("discrete_sae_circuit", *m, pairs(*m, false), {{"reference", "9.9"}}), Error);
}

}  // namespace
}  // namespace microtome
