// Training goes on with equal bits from a stored state, its sparse form follows the dense one, and what it reads is what was kept.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "core/model/loaded_model.h"
#include "core/training/activations.h"
#include "core/training/corpus.h"
#include "core/training/sparse_product.h"
#include "core/training/trainer.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"

namespace microtome {
namespace {

namespace fs = std::filesystem;

DictionaryConfig config_of(const std::string& kind, bool transcoder = false) {
  DictionaryConfig c;
  c.kind = kind;
  c.d_in = c.d_out = 24;
  c.d_sae = 96;
  c.transcoder = transcoder;
  c.apply_b_dec_to_input = !transcoder;
  const bool counts = kind == "topk" || kind == "batchtopk" || kind == "matryoshka";
  c.k = counts ? 4 : 0;
  c.rescale_acts_by_decoder_norm = counts && !transcoder;
  if (kind == "matryoshka") c.nested = {12, 40};
  return c;
}

TrainerSettings settings_of(int64_t steps) {
  TrainerSettings s;
  s.loss.l1 = 0.5;
  s.loss.l0 = 0.2;
  s.loss.bandwidth = 0.3;
  s.lr = 3e-3;
  s.steps = steps;
  s.warmup = 5;
  s.decay = 10;
  s.sparsity_warmup = 8;
  s.dead_tokens = 300;
  s.resample_every = 7;
  return s;
}

// Tokens that are sums of few of 40 planted directions.
std::vector<at::Tensor> planted(int64_t batches) {
  at::manual_seed(3);
  at::Tensor directions = at::randn({40, 24}), mean = at::randn({24});
  std::vector<at::Tensor> out;
  for (int64_t b = 0; b < batches; ++b) {
    at::Tensor codes = at::rand({64, 40}) * at::rand({64, 40}).lt(0.08);
    out.push_back(codes.matmul(directions) + mean);
  }
  return out;
}

class Training : public ::testing::TestWithParam<std::string> {};

TEST_P(Training, GoesOnFromAStoredStateWithEqualBits) {
  const auto data = planted(12);
  const bool cross = GetParam() == "cross_layer";
  std::vector<Dictionary> start;
  if (cross)
    for (int64_t l = 0; l < 3; ++l) start.push_back(Trainer::initial(config_of("jumprelu", true), at::zeros({24}), 0.3, 0.01, 2 - l, static_cast<uint64_t>(l)));
  else start.push_back(Trainer::initial(config_of(GetParam()), data[0].mean(0), 0.3, 0.01, 0, 1));
  auto inputs = [&](int64_t s) { return std::vector<at::Tensor>(start.size(), data[static_cast<size_t>(s) % data.size()]); };
  Trainer whole(start, settings_of(40)), first(start, settings_of(40));
  std::vector<double> losses;
  for (int64_t s = 0; s < 40; ++s) losses.push_back(whole.step(inputs(s), inputs(s + 1)).loss.item<double>());
  for (int64_t s = 0; s < 17; ++s) first.step(inputs(s), inputs(s + 1));
  Trainer second(start, settings_of(40));
  second.set_state(first.state("x."), "x.");
  EXPECT_EQ(second.steps_done(), 17);
  for (int64_t s = 17; s < 40; ++s) EXPECT_EQ(second.step(inputs(s), inputs(s + 1)).loss.item<double>(), losses[static_cast<size_t>(s)]) << s;
  for (size_t m = 0; m < start.size(); ++m) {
    Dictionary a = whole.finished(m), b = second.finished(m);
    EXPECT_EQ(a.config.kind, b.config.kind);
    ASSERT_EQ(a.weights.size(), b.weights.size());
    for (const auto& [name, w] : a.weights) EXPECT_TRUE(at::equal(w, b.weight(name))) << name;
  }
  std::vector<NamedArray> state = first.state("x.");
  std::set<std::string> names;
  for (const NamedArray& a : state) EXPECT_TRUE(names.insert(a.name).second) << a.name << " is there twice: a file could not hold it";
  state.pop_back();
  EXPECT_THROW(second.set_state(state, "x."), Error);
}

TEST_P(Training, LearnsWhatIsPlanted) {
  if (GetParam() == "cross_layer") GTEST_SKIP() << "its inputs are not its targets";
  const auto data = planted(40);
  const int64_t steps = 600;
  TrainerSettings s = settings_of(steps);
  s.resample_every = 0;
  s.loss.l1 = 0.4;
  s.loss.l0 = 0.02;
  Trainer t({Trainer::initial(config_of(GetParam()), data[0].mean(0), 0.3, 0.01, 0, 1)}, s);
  for (int64_t i = 0; i < steps; ++i) {
    const at::Tensor& x = data[static_cast<size_t>(i) % 39];
    t.step({x}, {x});
  }
  // On a batch that was never trained on.
  const at::Tensor& x = data[39];
  Dictionary d = t.finished(0);
  at::Tensor codes = d.encode(x), out = d.decode(codes, x);
  const double fvu = ((out - x).square().sum() / (x - x.mean(0)).square().sum()).item<double>();
  EXPECT_LT(fvu, 0.35) << "share of the variance that is not explained";
  EXPECT_LT(codes.gt(0).sum(1).to(at::kFloat).mean().item<double>(), 40);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Training, ::testing::Values("standard", "gated", "topk", "batchtopk", "jumprelu", "matryoshka", "cross_layer"),
                         [](const auto& i) { return i.param; });

TEST(SparseForm, ItsLossCurveIsTheDenseOnes) {
  const auto data = planted(10);
  for (const char* kind : {"topk", "batchtopk", "matryoshka"}) {
    TrainerSettings dense = settings_of(60), sparse = settings_of(60);
    dense.form = TrainerSettings::Form::kDense;
    sparse.form = TrainerSettings::Form::kSparse;
    Dictionary start = Trainer::initial(config_of(kind), data[0].mean(0), 0.3, 0, 0, 1);
    Trainer a({start}, dense), b({start}, sparse);
    for (int64_t s = 0; s < 60; ++s) {
      const at::Tensor& x = data[static_cast<size_t>(s) % 10];
      const double want = a.step({x}, {x}).loss.item<double>(), got = b.step({x}, {x}).loss.item<double>();
      // Rounding may let the two choose differently at a tie, later on.
      EXPECT_NEAR(got, want, 2e-3 * want) << kind << ", step " << s;
    }
  }
}

TEST(SparseProduct, IsThatOfTheMatrixItStandsFor) {
  at::manual_seed(1);
  for (int64_t width : {1, 7, 33, 64}) {
    at::Tensor flat = at::randperm(9 * 31).slice(0, 0, 50), value = at::randn({50}), w = at::randn({31, width}), a = at::randn({9, width});
    SparseBatch c = sparse_batch(flat, value, 9, 31);
    at::Tensor dense = at::zeros({9 * 31}).scatter(0, flat, value).view({9, 31});
    EXPECT_TRUE(at::allclose(sparse_decode(c, w), dense.matmul(w), 1e-4, 1e-5));
    at::Tensor dot = at::zeros({9, 31}).index_put({c.row, c.column}, sparse_dot(c, a, w));
    EXPECT_TRUE(at::allclose(dot, a.matmul(w.t()) * dense.ne(0), 1e-4, 1e-5));
    at::Tensor out = at::ones({31, width});
    sparse_scatter(c, c.value, a, out);
    EXPECT_TRUE(at::allclose(out, dense.t().matmul(a) + 1, 1e-4, 1e-5));
    EXPECT_TRUE(at::allclose(sparse_column_sums(c, c.value), dense.sum(0), 1e-4, 1e-5));
  }
}

struct Folder {
  fs::path path = fs::temp_directory_path() / ("microtome-training-" + std::to_string(::getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
};

TEST(Corpus, TokenFilesAreCutAndChecked) {
  Folder f;
  const std::string path = (f.path / "ids.json").string();
  std::ofstream(path) << "[[1, 2, 3, 4, 5], [6, 7]]";
  Corpus c = read_corpus(path, nullptr, 3, true, 10);
  EXPECT_EQ(c.sequences, (std::vector<std::vector<int64_t>>{{1, 2, 3}, {4, 5}, {6, 7}}));
  EXPECT_THROW(read_corpus(path, nullptr, 3, true, 7), Error) << "7 is not in a vocabulary of 7";
  std::ofstream(path) << "once upon a time";
  EXPECT_THROW(read_corpus(path, nullptr, 3, true, 10), Error) << "text needs a tokenizer";
  std::ofstream(path) << "";
  EXPECT_THROW(read_corpus(path, nullptr, 3, true, 10), Error);
}

TEST(Activations, KeptOnesAreThoseThatWereMadeAndDamageIsSeen) {
  Folder f;
  auto model = load_model(testing::golden_path("golden/models/fla-gated_deltanet"), c10::Device(c10::kCPU), at::kFloat);
  Corpus corpus;
  for (int64_t r = 0; r < 30; ++r) {
    corpus.sequences.emplace_back();
    for (int64_t t = 0; t < (r % 3 ? 12 : 9); ++t) corpus.sequences.back().push_back((r * 17 + t * 5 + t * t) % 97);
  }
  ActivationOptions o;
  o.hooks = {"blocks.0.hook_resid_post", "blocks.1.attn.hook_z"};
  o.block_tokens = 80;
  o.batch_tokens = 40;
  o.held_out = 3;
  o.from = 1;
  o.key = "k";
  ActivationBlocks fresh(*model->model, corpus, o);
  ASSERT_GT(fresh.blocks(), 2);
  EXPECT_EQ(fresh.held_out().size(), 3u);
  // Every row of a block is a row of the model's own run, once.
  std::vector<at::Tensor> first = fresh.block(0);
  EXPECT_EQ(first[0].size(0), fresh.rows(0));
  EXPECT_EQ(first[0].size(0), first[1].size(0));
  o.cache = (f.path / "cache").string();
  for (int pass = 0; pass < 2; ++pass) {
    ActivationBlocks kept(*model->model, corpus, o);
    for (int64_t n : {0, 1, 2, 0}) {
      const auto& a = kept.block(n);
      const auto& b = fresh.block(n);
      for (size_t h = 0; h < 2; ++h) EXPECT_TRUE(at::equal(a[h], b[h])) << "block " << n << ", pass " << pass;
    }
  }
  {
    std::fstream shard((f.path / "cache/block-000001.safetensors").string(), std::ios::in | std::ios::out | std::ios::binary);
    shard.seekp(-5, std::ios::end);
    shard.put('x');
  }
  ActivationBlocks again(*model->model, corpus, o);
  EXPECT_TRUE(at::equal(again.block(1)[0], fresh.block(1)[0])) << "made anew";
  EXPECT_NE(again.problem().find("not as it was written"), std::string::npos) << again.problem();
  o.key = "another";
  EXPECT_THROW(ActivationBlocks(*model->model, corpus, o), Error);
  o.cache.clear();
  o.held_out = 30;
  EXPECT_THROW(ActivationBlocks(*model->model, corpus, o), Error) << "nothing is left to train on";
}

}  // namespace
}  // namespace microtome
