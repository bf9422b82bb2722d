// Files that lie, folders that hold nothing, models that do not fit.
#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include <cmath>
#include <filesystem>

#include "core/base/json.h"
#include "core/dictionary/formats/format.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"
#include "tests/unit/base/temp_folder.h"
#include "tests/unit/dictionary/made.h"
#include "tests/unit/io/torch_bytes.h"

namespace microtome {
namespace {

using namespace testing;

template <class F>
void expect_error(F&& f, const std::string& part) {
  try {
    f();
    ADD_FAILURE() << "accepted: " << part;
  } catch (const Error& e) {
    const StatusCode code = e.status().code();
    EXPECT_TRUE(code == StatusCode::kBadInput || code == StatusCode::kUnsupported || code == StatusCode::kNotFound) << e.what();
    EXPECT_NE(e.status().text().find(part), std::string::npos) << e.what();
    EXPECT_LT(e.status().text().size(), 1500u);
  }
}
void expect_unreadable(const std::string& path, const std::string& part) {
  expect_error([&] { read_dictionaries(path); }, part);
}

DictionarySet one(Dictionary d) {
  DictionarySet set;
  set.layers = {layer_of_hook(d.config.hook_in)};
  set.members.push_back(std::move(d));
  return set;
}

// A SAELens folder with one field of its configuration set otherwise.
class SaeLensFolder {
 public:
  explicit SaeLensFolder(const Dictionary& d) {
    write_dictionaries(one(d), "saelens", temp_ / "d");
    cfg_ = read_json_file(temp_ / "d/cfg.json").value();
  }
  void expect(const std::string& key, const Json& value, const std::string& part) {
    Json cfg = cfg_;
    cfg[key] = value;
    temp_.put("d/cfg.json", cfg.dump());
    SCOPED_TRACE(cfg.dump());
    expect_unreadable(temp_ / "d", part);
  }
  const TempFolder& temp() const { return temp_; }

 private:
  TempFolder temp_;
  Json cfg_;
};

TEST(HostileDictionaries, ConfigurationAndWeightsMustAgree) {
  SaeLensFolder f(made("topk"));
  f.expect("d_in", 7, "tensor 'W_enc' has shape [6,10], expected [7,10]");
  f.expect("d_sae", 11, "expected [6,11]");
  f.expect("d_sae", 1e300, "d_sae");
  f.expect("d_sae", int64_t{1} << 60, "'d_sae' is 1152921504606846976");
  f.expect("d_in", -6, "'d_in' is -6");
  f.expect("d_in", "6", "'d_in'");
  f.expect("k", 0, "field 'k' is 0 of 10");
  f.expect("k", 11, "field 'k' is 11 of 10");
  f.expect("architecture", "gated", "'b_gate' is missing");
  f.expect("architecture", "jumprelu", "'threshold' is missing");
  f.expect("architecture", "skip_transcoder", "'apply_b_dec_to_input' is true");
  f.expect("architecture", "temporal", "'architecture' is 'temporal'");
  f.expect("architecture", "../../etc/passwd", "'architecture' is");
  f.expect("architecture", std::string(5000, 'x'), "'architecture' is");
  f.expect("architecture", nullptr, "architecture");
  f.expect("normalize_activations", "covariance_whitening", "covariance_whitening");
  f.expect("reshape_activations", "sideways", "sideways");
  f.expect("metadata", 3, "'metadata'");
  f.expect("metadata", {{"sae_lens_version", "6.0.0"}, {"hook_name", {1, 2}}}, "hook_name");
  SaeLensFolder g(made("standard"));
  Json cfg = read_json_file(g.temp() / "d/cfg.json").value();
  g.temp().put("d/cfg.json", "[]");
  expect_unreadable(g.temp() / "d", "no JSON object");
  g.temp().put("d/cfg.json", "{\"d_in\": 6, \"d_in\": 6}");
  expect_unreadable(g.temp() / "d", "cfg.json");
  g.temp().put("d/cfg.json", cfg.dump());
  const std::string weights = read_text_file(g.temp() / "d/sae_weights.safetensors").value();
  g.temp().put("d/sae_weights.safetensors", weights.substr(0, weights.size() - 5));
  expect_unreadable(g.temp() / "d", "sae_weights.safetensors");
  g.temp().put("d/sae_weights.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:1\n");
  expect_unreadable(g.temp() / "d", "git-LFS pointer");
  g.temp().put("d/sae_weights.safetensors", weights);
  EXPECT_EQ(read_dictionaries(g.temp() / "d/sae_weights.safetensors").members.size(), 1u);
  std::filesystem::remove(g.temp() / "d/cfg.json");
  expect_unreadable(g.temp() / "d", "cfg.json");
}

TEST(HostileDictionaries, NumbersMustBeFinite) {
  for (const double bad : {std::nan(""), double{INFINITY}}) {
    Dictionary d = made("standard");
    d.weights["W_dec"][2][3] = bad;
    TempFolder temp;
    write_dictionaries(one(d), "saelens", temp / "d");
    expect_unreadable(temp / "d", "W_dec");
  }
}

TEST(HostileDictionaries, FoldersWithoutADictionary) {
  TempFolder temp;
  temp.put("empty/readme.txt", "nothing");
  expect_unreadable(temp / "empty", "no dictionary of a known format");
  expect_unreadable(temp / "empty", "looked for: ");
  expect_unreadable(temp / "absent", "no such file or folder");
  expect_unreadable(std::string("a\0b", 3), "");
  expect_error([&] { read_dictionaries(temp / "empty", "pytorch"); }, "there is no dictionary format 'pytorch'");
  expect_error([&] { read_dictionaries(temp / "empty", "saelens"); }, "no sae_weights.safetensors");
  // Two formats in one folder are not guessed between; named, each is read.
  write_dictionaries(one(made("standard")), "saelens", temp / "both/a");
  write_dictionaries(one(made("topk")), "sparsify", temp / "both/b");
  expect_unreadable(temp / "both", "of 'saelens' and of 'sparsify'");
  EXPECT_EQ(read_dictionaries(temp / "both", "sparsify").members.at(0).config.kind, "topk");
  EXPECT_EQ(read_dictionaries(temp / "both/a").members.at(0).config.kind, "standard");
  // A link to a folder leads nowhere.
  std::filesystem::create_directory(temp / "links");
  std::filesystem::create_directory_symlink(temp / "both/a", temp / "links/a");
  expect_unreadable(temp / "links", "no dictionary of a known format");
}

TEST(HostileDictionaries, EveryFormatIsRegisteredOnceWithTitleAndSource) {
  std::set<std::string> names;
  for (const DictionaryFormat& f : dictionary_formats::builtin().all()) {
    EXPECT_TRUE(names.insert(f.name).second) << f.name;
    EXPECT_FALSE(f.title.empty());
    EXPECT_FALSE(f.source.empty());
    EXPECT_EQ(f.write == nullptr, f.why_not == nullptr) << f.name;
    EXPECT_FALSE(f.looks_like("/nonexistent"));
  }
  EXPECT_EQ(names, (std::set<std::string>{"circuit_tracer", "dictionary_learning", "gemma_scope", "saelens", "sparsify"}));
}

TEST(DictionaryAndModel, WidthsOfPointsAndHashes) {
  const std::string folder = golden_path("models/zoo-gated_deltanet");
  ASSERT_FALSE(folder.empty());
  const auto model = load_test_model(folder);
  const auto with = [](const std::string& in, int64_t width, const std::string& out = "", int64_t d_out = 0) {
    Dictionary d = made("standard", !out.empty(), false, 0, {width, 4, out.empty() ? width : d_out});
    d.config.hook_in = in;
    d.config.hook_out = out.empty() ? in : out;
    d.config.weights_hash = "sha256:aaaa";
    return d;
  };
  const auto fits = [&](const Dictionary& d, const std::string& hash = "sha256:aaaa") { return check_against_model(d, *model, hash); };
  const int64_t d_model = model->config().d_model;
  EXPECT_EQ(fits(with("blocks.1.hook_resid_post", d_model)), "");
  EXPECT_EQ(fits(with("blocks.1.mlp.hook_in", d_model, "blocks.1.hook_mlp_out", d_model)), "");
  // Heads lie side by side: the width of z and of a state's writes is the product of their axes.
  for (const char* point : {"blocks.1.attn.hook_z", "blocks.1.attn.hook_state_write"}) {
    const HookPoint* p = model->catalogue().find(point);
    ASSERT_NE(p, nullptr) << point;
    ASSERT_GE(p->axes.size(), 4u);
    int64_t width = 1;
    for (size_t i = 2; i < p->sizes.size(); ++i) width *= p->sizes[i];
    EXPECT_GT(width, p->sizes.back());
    EXPECT_EQ(fits(with(point, width)), "");
    expect_error([&] { fits(with(point, p->sizes.back())); }, "reads " + std::to_string(p->sizes.back()) + " numbers a token");
  }
  expect_error([&] { fits(with("blocks.1.hook_resid_post", d_model + 1)); }, "and blocks.1.hook_resid_post of model");
  expect_error([&] { fits(with("blocks.1.mlp.hook_in", d_model, "blocks.1.hook_mlp_out", 5)); }, "writes 5 numbers a token");
  expect_error([&] { fits(with("blocks.99.hook_resid_post", d_model)); }, "'blocks.99.hook_resid_post', a point that model");
  const std::string other = fits(with("blocks.1.hook_resid_post", d_model), "sha256:bbbb");
  EXPECT_NE(other.find("sha256:aaaa"), std::string::npos) << other;
  EXPECT_NE(other.find("sha256:bbbb"), std::string::npos) << other;
  EXPECT_NE(other.find(model->config().name), std::string::npos) << other;
  Dictionary silent = with("blocks.1.hook_resid_post", d_model);
  silent.config.weights_hash.clear();
  EXPECT_EQ(fits(silent, "sha256:bbbb"), "");
  DictionarySet cross = made_cross_layer(2, false);
  for (Dictionary& d : cross.members) {
    const int64_t n = d_model;
    for (auto& [name, w] : d.weights) w = name == "W_enc" ? at::zeros({n, 10}) : name == "b_enc" ? at::zeros({10}) : name == "b_dec" ? at::zeros({n}) : w.dim() == 3 ? at::zeros({w.size(0), 10, n}) : at::zeros({10, n});
    d.config.d_in = d.config.d_out = n;
  }
  EXPECT_EQ(fits(cross.members[0]), "");
  cross.members[0].weights["W_dec_later"] = at::zeros({99, 10, d_model});
  expect_error([&] { fits(cross.members[0]); }, "a point that model");
}

}  // namespace
}  // namespace microtome
