// Which libraries are taken, and what is said of those that are not.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/base/sha256.h"
#include "core/base/json.h"
#include "tests/unit/base/temp_folder.h"
#include "tests/unit/plugins/plugin_fixture.h"

namespace microtome {
namespace {

namespace fs = std::filesystem;
using testing::load;
using testing::test_plugin;

std::string all(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& t : texts) out += t + "\n";
  return out;
}

TEST(PluginLoading, TheExamplesComeWithFileHashAndSchema) {
  auto known = load({testing::examples()});
  EXPECT_EQ(all(known.problems), "");
  ASSERT_EQ(known.plugins.size(), 2u);
  EXPECT_EQ(known.registry.all().size(), analyses::builtin().all().size() + 2);
  const AnalysisKind& kind = known.registry.get("token_surprisal", "test");
  EXPECT_EQ(fs::path(kind.plugin_file).filename(), "token_surprisal.so");
  EXPECT_EQ(kind.plugin_hash, sha256_hex(read_text_file(kind.plugin_file).value()));
  EXPECT_EQ(kind.info.prompts, AnalysisInfo::Prompts::kClean);
  EXPECT_EQ(kind.info.outputs.at(0).axes, (std::vector<std::string>{"prompt", "pos"}));
  ASSERT_NE(kind.schema.find("unit"), nullptr);
  EXPECT_EQ(kind.schema.find("unit")->choices, (std::vector<std::string>{"nats", "bits"}));
  // Built-in ones are as they were.
  EXPECT_EQ(known.registry.get("ablation", "test").plugin_file, "");
  EXPECT_FALSE(known.registry.get("ablation", "test").schema.specs.empty());
  EXPECT_EQ(analyses::builtin().find("token_surprisal"), nullptr);
}

struct Bad {
  const char* folder;
  std::vector<std::string> says;  // all of it in one sentence
  bool rest_usable;               // the other analysis of the library is there
};

class BadPlugin : public ::testing::TestWithParam<Bad> {};

TEST_P(BadPlugin, IsLeftOutWithAReason) {
  auto known = load({test_plugin(GetParam().folder)});
  ASSERT_EQ(known.problems.size(), 1u) << all(known.problems);
  const std::string& text = known.problems[0];
  for (const std::string& part : GetParam().says)
    EXPECT_NE(text.find(part), std::string::npos) << part << " in: " << text;
  EXPECT_NE(text.find(std::string(GetParam().folder) + ".so"), std::string::npos) << text;
  EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(known.registry.find("bad_one"), nullptr);
  EXPECT_EQ(known.registry.find("fine_one") != nullptr, GetParam().rest_usable);
  EXPECT_EQ(known.registry.get("ablation", "test").plugin_file, "");
}

INSTANTIATE_TEST_SUITE_P(
    Cases, BadPlugin,
    ::testing::Values(
        Bad{"no_entry", {"no function microtome_plugin_entry"}, false},
        Bad{"null_table", {"cannot serve this program"}, false},
        Bad{"wrong_version", {"version 77", "version 1"}, false},
        Bad{"truncated_table", {"says it has 24 bytes", "has " + std::to_string(sizeof(microtome_plugin))}, false},
        Bad{"wrong_analysis_version", {"analysis 1", "version 78", "version 1"}, true},
        Bad{"truncated_analysis",
            {"analysis 1", "24 bytes", "has " + std::to_string(sizeof(microtome_analysis))},
            true},
        Bad{"null_title", {"'bad_one'", "its title is null"}, true},
        Bad{"null_callback", {"'bad_one'", "run_item is null"}, true},
        Bad{"null_entry", {"analysis 1", "its entry is null"}, true}, Bad{"negative_count", {"said to be -5"}, false},
        Bad{"with_tasks", {"tasks or mixers"}, false},
        Bad{"clash", {"'ablation'", "already an analysis of this name"}, true},
        Bad{"bad_name", {"\\x1b", "a-z, 0-9"}, true},
        Bad{"broken_params", {"'bad_one'", "params.json", "malformed"}, true},
        Bad{"missing_default", {"'bad_one'", "parameter 'x' has no default"}, true},
        Bad{"throws_in_entry", {"no licence found"}, false}),
    [](const auto& i) { return std::string(i.param.folder); });

TEST(PluginLoading, OneBadLibraryDoesNotStopTheOthers) {
  auto known =
      load({test_plugin("wrong_version"), testing::examples(), test_plugin("throws_in_entry"), test_plugin("clash")});
  EXPECT_EQ(known.problems.size(), 3u) << all(known.problems);
  EXPECT_NE(known.registry.find("token_surprisal"), nullptr);
  EXPECT_NE(known.registry.find("fine_one"), nullptr);
}

TEST(PluginLoading, TheFirstOfANameHoldsAndOneLibraryIsTakenOnce) {
  testing::TempFolder folder;
  std::string source = testing::examples() + "/shared_prefix.so", a = folder / "a.so", b = folder / "b.so";
  fs::copy_file(source, a);
  fs::copy_file(source, b);
  fs::create_symlink("a.so", folder / "c.so");
  auto known = load({folder.str(), folder.str() + "/."});
  EXPECT_EQ(known.registry.get("shared_prefix", "test").plugin_file, a);
  ASSERT_EQ(known.problems.size(), 1u) << all(known.problems);
  EXPECT_NE(known.problems[0].find(b), std::string::npos) << known.problems[0];
}

TEST(PluginLoading, WhatIsNoLibraryIsNamed) {
  testing::TempFolder folder;
  std::ofstream(folder / "text.so") << "not a library";
  std::ofstream(folder / "readme.txt") << "not looked at";
  fs::create_directory(folder / "folder.so");
  fs::create_symlink("nowhere", folder / "dangling.so");
  auto known = load({folder.str(), "/nonexistent/plugins"});
  EXPECT_TRUE(known.plugins.empty());
  ASSERT_EQ(known.problems.size(), 4u) << all(known.problems);
  EXPECT_NE(known.problems[0].find("dangling.so"), std::string::npos);
  EXPECT_NE(known.problems[1].find("folder.so"), std::string::npos);
  EXPECT_NE(known.problems[2].find("does not open"), std::string::npos);
  EXPECT_NE(known.problems[3].find("/nonexistent/plugins"), std::string::npos);
}

TEST(PluginLoading, ALibraryCutShortIsNamed) {
  testing::TempFolder folder;
  std::string whole = read_text_file(testing::examples() + "/shared_prefix.so").value();
  for (size_t size : {size_t{0}, size_t{3}, size_t{63}, size_t{64}, size_t{1000}, whole.size() / 2}) {
    std::ofstream(folder / "cut.so", std::ios::binary) << whole.substr(0, size);
    EXPECT_EQ(load({folder.str()}).problems.size(), 1u) << size;
  }
  // A header that promises what is not there.
  for (size_t at : {size_t{33}, size_t{54}, size_t{57}, size_t{79}, size_t{103}}) {
    std::string odd = whole;
    odd[at] = '\xff';
    std::ofstream(folder / "cut.so", std::ios::binary) << odd;
    EXPECT_EQ(load({folder.str()}).problems.size(), 1u) << at;
  }
}

TEST(PluginLoading, LooksIntoThreePlacesInOrder) {
  auto keep = [](const char* name) {
    const char* v = std::getenv(name);
    return v ? std::string(v) : std::string();
  };
  std::string path = keep("MICROTOME_PLUGIN_PATH"), data = keep("XDG_DATA_HOME"), home = keep("HOME");
  setenv("MICROTOME_PLUGIN_PATH", "/one::/two", 1);
  setenv("XDG_DATA_HOME", "/data", 1);
  auto names = [] {
    std::string out;
    for (const plugins::Folder& f : plugins::plugin_folders("/opt/bin")) out += f.path + (f.named ? "!" : "") + " ";
    return out;
  };
  EXPECT_EQ(names(), "/one! /two! /opt/bin/plugins /data/microtome/plugins ");
  unsetenv("MICROTOME_PLUGIN_PATH");
  setenv("XDG_DATA_HOME", "relative", 1);
  setenv("HOME", "/home/x", 1);
  EXPECT_EQ(names(), "/opt/bin/plugins /home/x/.local/share/microtome/plugins ");
  setenv("HOME", home.c_str(), 1);
  if (data.empty())
    unsetenv("XDG_DATA_HOME");
  else
    setenv("XDG_DATA_HOME", data.c_str(), 1);
  if (!path.empty()) setenv("MICROTOME_PLUGIN_PATH", path.c_str(), 1);
}

}  // namespace
}  // namespace microtome
