// Every analysis in the registry, found without being named here: the same numbers twice, a cancel after any item, going on
// from a project with equal bits, and an answer from the project. On a hybrid model, so that softmax and recurrent layers
// are both met; everything runs on the CPU.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "analysis/registry.h"
#include "analysis/runner.h"
#include "core/dictionary/formats/format.h"
#include "core/training/trainer.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"

namespace microtome {
namespace {

namespace fs = std::filesystem;

struct Folder {
  fs::path path = fs::temp_directory_path() / ("microtome-conformance-" + std::to_string(::getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
};

Dataset prompts() {
  Dataset d;
  d.name = "conformance";
  for (int64_t i = 0; i < 5; ++i) {
    PromptPair p;
    for (int64_t t = 0; t < (i < 3 ? 11 : 9); ++t) {
      p.clean_ids.push_back((t * 7 + i * 13 + 3) % 97);
      p.corrupted_ids.push_back(t < 4 ? p.clean_ids.back() : (t * 11 + i * 5 + 1) % 97);
    }
    p.answer_ids = {5 + i};
    p.wrong_ids = {60 - i, 61 + i};
    p.positions = {{"subject", 4 + i % 2}, {"end", static_cast<int64_t>(p.clean_ids.size()) - 1}};
    d.pairs.push_back(p);
  }
  return d;
}

// All numbers of a result as bytes, so that NaN equals NaN and -0 differs from 0.
std::string bytes_of(const AnalysisResult& r) {
  std::string out;
  auto add = [&](const void* p, size_t n) { out.append(static_cast<const char*>(p), n); };
  for (const SummaryItem& s : r.summary) {
    out += s.name;
    add(&s.value, sizeof s.value);
    add(&s.low, sizeof s.low);
    add(&s.high, sizeof s.high);
  }
  for (const std::string& f : r.findings) out += f;
  for (const Artifact& a : r.artifacts) {
    out += artifact_kind(a) + artifact_name(a);
    if (const auto* m = std::get_if<TensorMap>(&a))
      for (const NamedArray& n : m->arrays) {
        out += n.name;
        std::visit([&](const auto& v) { add(v.data(), v.size() * sizeof v[0]); }, n.data);
      }
  }
  return out;
}

class EveryAnalysis : public ::testing::TestWithParam<std::string> {
 protected:
  static void SetUpTestSuite() {
    model_ = load_model(golden_path_of(), c10::Device(c10::kCPU), at::kFloat);
    data_ = new Dataset(prompts());
  }
  static void TearDownTestSuite() {
    model_.reset();
    delete data_;
  }
  static std::string golden_path_of() { return testing::golden_path("golden/models/fla-hybrid-gated_deltanet-swa"); }
  RunSettings settings(const std::string& name) const {
    RunSettings s;
    s.analysis = name;
    s.params["batch_size"] = "3";
    const ParamSchema& schema = analyses::builtin().find(name)->schema;
    if (!schema.find("batch_size")) s.params.clear();
    // Files that the defaults leave out, by the name of the parameter, and sizes that a test can pay.
    auto set = [&](const char* param, const std::string& value) {
      const ParamSpec* spec = schema.find(param);
      if (spec && (spec->is_file || spec->type == ParamSpec::Type::kInt)) s.params[param] = value;
    };
    set("corpus", (files().path / "corpus.json").string());
    set("dictionary", (files().path / "sae").string());
    set("transcoders", (files().path / "transcoders").string());
    set("tokens", "600");
    set("expansion", "2");
    set("k", "4");
    set("batch", "40");
    set("buffer", "3");
    set("length", "16");
    set("eval_tokens", "48");
    set("checkpoint_every", "5");
    set("log_every", "2");
    s.seed = 11;
    return s;
  }
  // A corpus and dictionaries that fit the model, made once.
  static const Folder& files() {
    static const Folder* folder = [] {
      auto* f = new Folder;
      f->path += "-files";
      fs::create_directories(f->path);
      std::string text = "[";
      for (int64_t r = 0; r < 40; ++r) {
        text += r ? ",[" : "[";
        for (int64_t t = 0; t < 16; ++t) text += (t ? "," : "") + std::to_string((r * 31 + t * t * 7 + t * r) % 97);
        text += "]";
      }
      std::ofstream(f->path / "corpus.json") << text << "]";
      const ModelConfig& c = model_->model->config();
      auto made = [&](const std::string& in, const std::string& out, uint64_t seed) {
        DictionaryConfig d;
        d.d_in = d.d_out = c.d_model;
        d.d_sae = 48;
        d.hook_in = in;
        d.hook_out = out;
        d.transcoder = in != out;
        d.apply_b_dec_to_input = !d.transcoder;
        d.name = "made of " + in;
        Dictionary made = Trainer::initial(d, at::zeros({c.d_model}), 0.5, 0, 0, seed);
        return made;
      };
      DictionarySet sae{"made", "", {made("blocks.1.hook_resid_post", "blocks.1.hook_resid_post", 1)}, {1}}, set{"made", "", {}, {}};
      for (int64_t l = 0; l < static_cast<int64_t>(c.layers.size()); ++l) {
        const std::string block = "blocks." + std::to_string(l) + ".";
        set.members.push_back(made(block + "mlp.hook_in", block + "hook_mlp_out", static_cast<uint64_t>(l) + 2));
        set.layers.push_back(l);
      }
      write_dictionaries(sae, "saelens", (f->path / "sae").string());
      write_dictionaries(set, "saelens", (f->path / "transcoders").string());
      return f;
    }();
    return *folder;
  }
  const Dataset& data(const std::string& name) const {
    static const Dataset none;
    return analyses::builtin().find(name)->info.prompts == AnalysisInfo::Prompts::kNone ? none : *data_;
  }
  RunOutcome run(ResultStore* store, int64_t cancel_after = -1) const {
    Progress progress;
    int64_t steps = 0;
    progress.on_step([&](const Progress::Snapshot&) {
      if (cancel_after >= 0 && ++steps > cancel_after) progress.cancel();
    });
    return run_analysis(analyses::builtin(), *model_, data(GetParam()), settings(GetParam()), store, progress);
  }
  static std::shared_ptr<const LoadedModel> model_;
  static Dataset* data_;
};
std::shared_ptr<const LoadedModel> EveryAnalysis::model_;
Dataset* EveryAnalysis::data_ = nullptr;

TEST_P(EveryAnalysis, GivesTheSameBitsTwiceAndKeepsItsWord) {
  RunOutcome a = run(nullptr), b = run(nullptr);
  EXPECT_EQ(bytes_of(a.result), bytes_of(b.result));
  EXPECT_EQ(a.key.hash, b.key.hash);
  EXPECT_FALSE(a.result.artifacts.empty());
  EXPECT_FALSE(a.result.findings.empty());
  EXPECT_FALSE(a.result.summary.empty());
  // Every array has axes that fit and says what it holds; every row of a table fits its columns.
  for (const Artifact& art : a.result.artifacts) {
    if (const auto* m = std::get_if<TensorMap>(&art))
      for (const NamedArray& n : m->arrays) {
        EXPECT_EQ(n.axes.size(), n.shape.size()) << n.name;
        EXPECT_FALSE(n.help.empty()) << n.name;
        int64_t size = 1;
        for (int64_t s : n.shape) size *= s;
        EXPECT_EQ(std::visit([](const auto& v) { return static_cast<int64_t>(v.size()); }, n.data), size) << n.name;
      }
    if (const auto* t = std::get_if<Table>(&art))
      for (const auto& row : t->rows) EXPECT_EQ(row.size(), t->columns.size()) << t->name;
  }
}

TEST_P(EveryAnalysis, GoesOnAfterACancelWithEqualBits) {
  Folder folder;
  std::string whole = bytes_of(run(nullptr).result);
  for (int64_t after : {0, 1, 2, 5, 9}) {
    std::string path = (folder.path / (GetParam() + std::to_string(after) + ".microtome")).string();
    auto store = ResultStore::open(path, ResultStore::Mode::kReadWrite).value();
    bool cancelled = false;
    try {
      run(store.get(), after);
    } catch (const Error& e) {
      cancelled = e.status().code() == StatusCode::kCancelled;
      EXPECT_TRUE(cancelled) << e.what();
    }
    EXPECT_TRUE(cancelled || after > 0);
    RunOutcome rest = run(store.get());
    EXPECT_EQ(bytes_of(rest.result), whole) << "cancelled after " << after;
    RunOutcome again = run(store.get());
    EXPECT_TRUE(again.from_store);
    EXPECT_EQ(bytes_of(again.result), whole);
  }
}

std::vector<std::string> names() {
  std::vector<std::string> out;
  for (const AnalysisKind* k : analyses::builtin().all()) out.push_back(k->info.name);
  return out;
}
INSTANTIATE_TEST_SUITE_P(Registry, EveryAnalysis, ::testing::ValuesIn(names()), [](const auto& i) { return i.param; });

TEST(AnalysisRegistry, HoldsTheBuiltInOnesOnce) {
  EXPECT_GE(names().size(), 8u);
  analyses::Registry r;
  AnalysisKind k;
  k.info.name = "x";
  r.add(k);
  EXPECT_THROW(r.add(k), Error);
}

TEST(AnalysisRunner, TheKeyTellsWhatAffectsTheAnswer) {
  auto model = load_model(testing::golden_path("golden/models/fla-gla"), c10::Device(c10::kCPU), at::kFloat);
  Dataset d = prompts();
  Progress progress;
  RunSettings s;
  s.analysis = "activation_patching";
  auto key = [&] { return run_analysis(analyses::builtin(), *model, d, s, nullptr, progress).key.hash; };
  std::string base = key();
  s.params["batch_size"] = "2";
  EXPECT_EQ(key(), base);
  s.device = "elsewhere";
  EXPECT_EQ(key(), base);
  s.params["site"] = "q";
  EXPECT_NE(key(), base);
  s.params["site"] = "z";
  EXPECT_EQ(key(), base);
  s.seed = 1;
  EXPECT_NE(key(), base);
  s.seed = 0;
  s.form = "naive";
  EXPECT_NE(key(), base);
  s.form = "auto";
  d.pairs[0].wrong_ids = {9};
  EXPECT_NE(key(), base);
}

}  // namespace
}  // namespace microtome
