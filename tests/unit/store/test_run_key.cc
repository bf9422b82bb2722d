#include <gtest/gtest.h>

#include <map>
#include <set>

#include "core/base/rng.h"
#include "core/base/sha256.h"
#include "core/store/explain.h"
#include "store_fixture.h"

namespace microtome {
namespace {

// Text made of what could break the key's text, and of everything else.
std::string hostile_text(Rng& rng) {
  static const std::vector<std::string> kParts = {
      "=", "\n", "\\", "\\n", "\\x3d", "param.", "seed", "seed=1\nform=", "\r",
      "a", "é", "\x7f", "\xff", std::string(1, '\0'), " "};
  std::string out;
  for (uint64_t n = rng.below(5); n > 0; --n) out += rng.pick(kParts);
  return out;
}

RunSpec random_spec(Rng& rng) {
  RunSpec s;
  s.analysis = hostile_text(rng);
  s.analysis_version = static_cast<int64_t>(rng.below(3));
  for (uint64_t n = rng.below(4); n > 0; --n) s.answer_params[hostile_text(rng)] = hostile_text(rng);
  s.weights_hash = hostile_text(rng);
  s.tokenizer_hash = hostile_text(rng);
  s.dataset_hash = hostile_text(rng);
  s.form = hostile_text(rng);
  s.dtype = hostile_text(rng);
  s.bos = hostile_text(rng);
  s.tf32 = rng.below(2) == 1;
  s.seed = rng.below(2) ? rng.next() : rng.below(3);
  s.interventions = hostile_text(rng);
  s.plugin_hash = hostile_text(rng);
  return s;
}

TEST(RunKey, TheTextGivesBackTheFieldsAndDifferentFieldsGiveDifferentTexts) {
  Rng rng(2024);
  std::map<std::string, std::vector<std::pair<std::string, std::string>>> seen;
  for (int i = 0; i < 4000; ++i) {
    RunKey key = make_run_key(random_spec(rng));
    ASSERT_EQ(parse_key_text(key.text), key.fields) << key.text;
    ASSERT_EQ(key.hash, sha256_hex(key.text));
    auto [it, fresh] = seen.emplace(key.text, key.fields);
    if (!fresh) {
      ASSERT_EQ(it->second, key.fields);
    }
    ASSERT_EQ(std::count(key.text.begin(), key.text.end(), '\n'), static_cast<int64_t>(key.fields.size()));
  }
  EXPECT_GT(seen.size(), 3000u);
}

TEST(RunKey, OneFieldCannotForgeAnother) {
  RunSpec a = sample_spec(), b = sample_spec();
  a.answer_params = {{"x", "1\nparam.y=2"}};
  b.answer_params = {{"x", "1"}, {"y", "2"}};
  EXPECT_NE(make_run_key(a).text, make_run_key(b).text);
  a.answer_params = {{"x=1", "2"}};
  b.answer_params = {{"x", "1=2"}};
  EXPECT_NE(make_run_key(a).text, make_run_key(b).text);
  a.answer_params = {{"x", "\\n"}};
  b.answer_params = {{"x", "\n"}};
  EXPECT_NE(make_run_key(a).text, make_run_key(b).text);
}

TEST(RunKey, EveryAnswerFieldChangesIt) {
  std::set<std::string> hashes = {make_run_key(sample_spec()).hash};
  std::vector<void (*)(RunSpec&)> changes = {
      [](RunSpec& s) { s.analysis = "ablation"; },
      [](RunSpec& s) { s.analysis_version = 3; },
      [](RunSpec& s) { s.answer_params["site"] = "resid_mid"; },
      [](RunSpec& s) { s.answer_params["extra"] = ""; },
      [](RunSpec& s) { s.weights_hash[0] = 'x'; },
      [](RunSpec& s) { s.tokenizer_hash[0] = 'x'; },
      [](RunSpec& s) { s.dataset_hash[0] = 'x'; },
      [](RunSpec& s) { s.form = "naive"; },
      [](RunSpec& s) { s.dtype = "float64"; },
      [](RunSpec& s) { s.tf32 = true; },
      [](RunSpec& s) { s.bos = "off"; },
      [](RunSpec& s) { s.seed = 8; },
      [](RunSpec& s) { s.interventions = "[{\"hook\":\"hook_embed\"}]"; },
      [](RunSpec& s) { s.plugin_hash = std::string(64, 'd'); },
  };
  for (auto change : changes) {
    RunSpec s = sample_spec();
    change(s);
    EXPECT_TRUE(hashes.insert(make_run_key(s).hash).second);
  }
  EXPECT_EQ(hashes.size(), changes.size() + 1);
}

TEST(RunKey, CostPathDeviceAndNamesAreNotInIt) {
  RunSpec s = sample_spec();
  s.cost_params = {{"batch", "1"}, {"threads", "4"}};
  s.model_path = "elsewhere";
  s.model_name = "other";
  s.family = "llama";
  s.dataset_name = "renamed";
  s.device = "cuda:3";
  s.command = "again";
  EXPECT_EQ(make_run_key(s).text, make_run_key(sample_spec()).text);
}

// Written down, so that a change of the key's form is seen: it would orphan every stored run.
TEST(RunKey, TheTextIsWhatItWas) {
  RunSpec s;
  s.analysis = "eap";
  s.answer_params = {{"steps", "5"}};
  s.weights_hash = "w";
  s.dataset_hash = "d";
  s.seed = 18446744073709551615u;
  EXPECT_EQ(make_run_key(s).text,
            "analysis=eap\nanalysis_version=1\nparam.steps=5\nweights=w\ntokenizer=\ndataset=d\nform=auto\n"
            "dtype=float32\ntf32=false\nbos=auto\nseed=18446744073709551615\ninterventions=[]\nplugin=\n");
}

RunRecord record_for(const RunSpec& spec) {
  RunRecord r;
  RunKey key = make_run_key(spec);
  r.id = 3;
  r.analysis = spec.analysis;
  r.key_hash = key.hash;
  r.key_text = key.text;
  r.spec = spec;
  return r;
}

TEST(Explain, NamesEveryFieldWithValueAndMeaning) {
  RunRecord r = record_for(sample_spec());
  std::string text = explain_key(r);
  for (const auto& [tag, value] : make_run_key(r.spec).fields) {
    EXPECT_NE(text.find("  " + tag), std::string::npos) << tag;
    EXPECT_NE(text.find(value), std::string::npos) << tag;
  }
  EXPECT_EQ(text.find("does not know"), std::string::npos) << "every field has a meaning:\n" << text;
  EXPECT_NE(text.find("models/tiny"), std::string::npos);
  EXPECT_NE(text.find("16"), std::string::npos) << "cost parameters are shown as not in the key";
}

TEST(Explain, IsFitForATerminal) {
  RunSpec s = sample_spec();
  s.answer_params["evil"] = "\x1b[2J\nfake line\xff";
  s.model_path = "\x1b]0;title\x07";
  std::string text = explain_key(record_for(s));
  for (unsigned char c : text) EXPECT_TRUE(c == '\n' || (c >= 0x20 && c != 0x7f)) << static_cast<int>(c);
  EXPECT_EQ(text.find("\nfake"), std::string::npos);
}

TEST(Diff, ListsExactlyTheFieldsThatDiffer) {
  RunSpec a = sample_spec(), b = sample_spec();
  EXPECT_TRUE(diff_keys(record_for(a), record_for(b)).empty());
  b.dtype = "float64";
  b.answer_params.erase("site");
  b.answer_params["steps"] = "5";
  b.device = "cuda:0";
  auto d = diff_keys(record_for(a), record_for(b));
  ASSERT_EQ(d.size(), 3u);
  EXPECT_EQ(d[0].tag, "param.site");
  EXPECT_EQ(d[0].a, "resid_pre");
  EXPECT_EQ(d[0].b, kAbsentField);
  EXPECT_EQ(d[1].tag, "dtype");
  EXPECT_EQ(d[1].a, "float32");
  EXPECT_EQ(d[1].b, "float64");
  EXPECT_FALSE(d[1].meaning.empty());
  EXPECT_EQ(d[2].tag, "param.steps");
  EXPECT_EQ(d[2].a, kAbsentField);
  EXPECT_EQ(d[2].b, "5");
}

}  // namespace
}  // namespace microtome
