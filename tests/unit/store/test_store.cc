#include <atomic>
#include <thread>

#include "core/base/json.h"
#include "core/base/rng.h"
#include "core/store/sql.h"
#include "store_fixture.h"

namespace microtome {
namespace {

TEST_F(StoreTest, AFreshProjectIsWholeAndEmpty) {
  auto store = open();
  ASSERT_TRUE(store);
  EXPECT_EQ(store->path(), project_);
  EXPECT_TRUE(store->runs()->empty());
  store.reset();
  std::vector<std::string> names;
  for (const auto& e : std::filesystem::directory_iterator(folder_)) names.push_back(e.path().filename().string());
  EXPECT_EQ(names, std::vector<std::string>{"work.microtome"}) << "no log, lock or temporary is left";
  Database db(project_, Database::Open::kReadOnly);
  EXPECT_EQ(db.pragma_integer("user_version"), 4);
  EXPECT_EQ(db.pragma_integer("application_id"), 0x4d746f6d);
  Statement mode(db, "PRAGMA journal_mode");
  ASSERT_TRUE(mode.step());
  EXPECT_EQ(mode.text(0), "wal");
}

TEST_F(StoreTest, ARunIsFoundAgainByItsKeyAndStoredWhole) {
  RunSpec spec = sample_spec(18446744073709551615u);
  spec.command = "with \xff bytes and \"quotes\"";
  spec.answer_params["text"] = std::string("nul \0 and line\n", 15);
  RunKey key = make_run_key(spec);
  int64_t id;
  {
    auto store = open();
    auto first = store->begin_run(spec, key, "The title");
    ASSERT_TRUE(first.is_ok()) << first.status().text();
    id = first->id;
    EXPECT_EQ(first->state, RunStatus::kNew);
    auto again = store->begin_run(spec, key, "Another title");
    EXPECT_EQ(again->id, id);
    EXPECT_EQ(store->runs()->size(), 1u);
  }
  auto store = open(ResultStore::Mode::kReadOnly);
  RunRecord r = *store->find_run(std::to_string(id));
  EXPECT_EQ(r.key_hash, key.hash);
  EXPECT_EQ(r.key_text, key.text);
  EXPECT_EQ(r.title, "The title");
  EXPECT_EQ(r.analysis, spec.analysis);
  EXPECT_EQ(r.created.size(), 20u);
  EXPECT_EQ(r.created.back(), 'Z');
  EXPECT_EQ(make_run_key(r.spec).text, key.text);
  EXPECT_EQ(r.spec.seed, spec.seed);
  EXPECT_EQ(r.spec.command, spec.command);
  EXPECT_EQ(r.spec.answer_params, spec.answer_params);
  EXPECT_EQ(r.spec.cost_params, spec.cost_params);
  EXPECT_EQ(r.spec.model_path, spec.model_path);
  EXPECT_EQ(r.spec.model_name, spec.model_name);
  EXPECT_EQ(r.spec.family, spec.family);
  EXPECT_EQ(r.spec.dataset_name, spec.dataset_name);
  EXPECT_EQ(r.spec.device, spec.device);
}

TEST_F(StoreTest, StateFollowsItemsAttemptsAndResult) {
  auto store = open();
  int64_t run = new_run(*store);
  auto state = [&] { return store->find_run(std::to_string(run))->state; };
  EXPECT_TRUE(store->set_items_total(run, 3).is_ok());
  int64_t first = *store->begin_attempt(run, "cpu", "{\"torch\":\"2\"}");
  EXPECT_EQ(state(), RunStatus::kNew);
  ASSERT_TRUE(store->put_item(run, 0, {array_of<float>("x", {1}, {1})}).is_ok());
  EXPECT_EQ(state(), RunStatus::kPartial);
  ASSERT_TRUE(store->end_attempt(first, 1.5, "out of memory", "[\"batch halved to 8\"]").is_ok());
  EXPECT_EQ(state(), RunStatus::kFailed);
  ASSERT_TRUE(store->begin_attempt(run, "cpu", "{}").is_ok());       // never ended: killed
  EXPECT_EQ(state(), RunStatus::kPartial);
  ASSERT_TRUE(store->put_item(run, 1, {array_of<float>("x", {1}, {2})}).is_ok());
  int64_t third = *store->begin_attempt(run, "cuda:0", "{}");
  ASSERT_TRUE(store->end_attempt(third, 2, "cancelled", "[]").is_ok());
  EXPECT_EQ(state(), RunStatus::kPartial) << "a cancelled run has not failed";
  ASSERT_TRUE(store->finish_run(run, {}).is_ok());
  EXPECT_EQ(state(), RunStatus::kDone);
  ASSERT_TRUE(store->put_item(run, 2, {array_of<float>("x", {1}, {3})}).is_ok());
  int64_t fourth = *store->begin_attempt(run, "cpu", "{}");
  ASSERT_TRUE(store->end_attempt(fourth, 0, "something else", "[]").is_ok());
  EXPECT_EQ(state(), RunStatus::kDone) << "what is done stays done";

  RunRecord r = *store->find_run(std::to_string(run));
  EXPECT_EQ(r.items_done, 3);
  EXPECT_EQ(r.items_total, 3);
  auto attempts = *store->attempts(run);
  ASSERT_EQ(attempts.size(), 4u);
  EXPECT_EQ(attempts[0].error, "out of memory");
  EXPECT_EQ(attempts[0].events, "[\"batch halved to 8\"]");
  EXPECT_EQ(attempts[0].versions, "{\"torch\":\"2\"}");
  EXPECT_EQ(attempts[0].seconds, 1.5);
  EXPECT_EQ(attempts[0].items_before, 0);
  EXPECT_EQ(attempts[0].items_after, 1);
  EXPECT_EQ(attempts[1].ended, "");
  EXPECT_EQ(attempts[1].items_after, 2);
  EXPECT_FALSE(attempts[1].error.empty());
  EXPECT_EQ(attempts[2].device, "cuda:0");
  EXPECT_FALSE(attempts[2].ended.empty());
}

TEST_F(StoreTest, BatchSizeNoteAndContextAreKept) {
  auto store = open();
  int64_t run = new_run(*store);
  EXPECT_EQ(*store->batch_size(run), 0);
  EXPECT_TRUE(store->set_batch_size(run, 32).is_ok());
  EXPECT_TRUE(store->set_note(run, "looks right").is_ok());
  EXPECT_TRUE(store->put_context(run, "prompts", "[1]").is_ok());
  EXPECT_TRUE(store->put_context(run, "prompts", "[2]").is_ok());
  store.reset();
  store = open(ResultStore::Mode::kReadOnly);
  EXPECT_EQ(*store->batch_size(run), 32);
  EXPECT_EQ(store->find_run("1")->note, "looks right");
  EXPECT_EQ(*store->context(run, "prompts"), "[2]");
  EXPECT_EQ(*store->context(run, "absent"), "");
}

TEST_F(StoreTest, ItemsComeBackBitForBit) {
  Rng rng(11);
  auto bits32 = [&] { return std::bit_cast<float>(static_cast<uint32_t>(rng.next())); };
  auto bits64 = [&] { return std::bit_cast<double>(rng.next()); };
  std::vector<std::vector<NamedArray>> items;
  for (int i = 0; i < 40; ++i) {
    int64_t a = static_cast<int64_t>(rng.below(5)), b = static_cast<int64_t>(rng.below(40));
    if (i % 10 == 9) b = 6000;                          // large enough for a file
    std::vector<float> f;
    std::vector<double> d;
    std::vector<int64_t> n;
    for (int64_t k = 0; k < a * b; ++k) {
      f.push_back(bits32());
      d.push_back(bits64());
      n.push_back(static_cast<int64_t>(rng.next()));
    }
    items.push_back({array_of("f", {a, b}, f), array_of("d", {b, a}, d), array_of("n", {a * b}, n),
                     array_of<double>("scalar", {}, {bits64()})});
  }
  items.push_back({});
  const float signalling = std::bit_cast<float>(0x7fa00001u), negative = std::bit_cast<float>(0xffc12345u);
  items.push_back({array_of<float>("nan", {3}, {signalling, -0.0f, negative})});
  int64_t run;
  {
    auto store = open();
    run = new_run(*store);
    for (size_t i = 0; i < items.size(); ++i) {
      Status s = store->put_item(run, static_cast<int64_t>(i) * 3, items[i]);
      ASSERT_TRUE(s.is_ok()) << s.text();
    }
  }
  EXPECT_FALSE(tensor_files().empty());
  auto store = open(ResultStore::Mode::kReadOnly);
  for (size_t i = 0; i < items.size(); ++i) {
    auto back = store->item(run, static_cast<int64_t>(i) * 3);
    ASSERT_TRUE(back.is_ok()) << back.status().text();
    ASSERT_TRUE(back->has_value());
    EXPECT_TRUE(same_bits(**back, items[i])) << "item " << i;
  }
  EXPECT_FALSE(store->item(run, 1)->has_value()) << "an absent item is an empty optional";
  EXPECT_EQ(store->items_done(run)->size(), items.size());
}

TEST_F(StoreTest, AnItemIsReplacedByALaterOne) {
  auto store = open();
  int64_t run = new_run(*store);
  ASSERT_TRUE(store->put_item(run, 5, {big_array("x", 0)}).is_ok());
  ASSERT_TRUE(store->put_item(run, 5, {array_of<float>("x", {1}, {2})}).is_ok());
  EXPECT_TRUE(same_bits(**store->item(run, 5), {array_of<float>("x", {1}, {2})}));
  EXPECT_EQ(*store->items_done(run), std::vector<int64_t>{5});
}

TEST_F(StoreTest, WhatIsNotThereIsNotFound) {
  auto store = open();
  EXPECT_EQ(store->put_item(9, 0, {}).code(), StatusCode::kNotFound);
  EXPECT_EQ(store->item(9, 0).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(store->items_done(9).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(store->finish_run(9, {}).code(), StatusCode::kNotFound);
  EXPECT_EQ(store->result(9).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(store->begin_attempt(9, "cpu", "{}").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(store->end_attempt(9, 0, "", "[]").code(), StatusCode::kNotFound);
  EXPECT_EQ(store->attempts(9).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(store->batch_size(9).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(store->set_note(9, "").code(), StatusCode::kNotFound);
  EXPECT_EQ(store->put_context(9, "a", "b").code(), StatusCode::kNotFound);
  EXPECT_EQ(store->delete_run(9).code(), StatusCode::kNotFound);
  EXPECT_EQ(store->find_run("9").status().code(), StatusCode::kNotFound);
  int64_t run = new_run(*store);
  Status unfinished = store->result(run).status();
  EXPECT_EQ(unfinished.code(), StatusCode::kNotFound);
  EXPECT_NE(unfinished.what().find("no result yet"), std::string::npos);
}

TEST_F(StoreTest, FindsByIdAndByUniquePrefix) {
  auto store = open();
  // Keys with chosen hashes: two share eight digits, and one is made of digits alone.
  auto add = [&](const std::string& start) {
    RunKey key = make_run_key(sample_spec());
    key.hash = start + std::string(64 - start.size(), '0');
    auto run = store->begin_run(sample_spec(), key, "");
    EXPECT_TRUE(run.is_ok()) << run.status().text();
    return run->id;
  };
  int64_t a = add("abcdef01aa"), b = add("abcdef01bb"), c = add("12345678"), d = add("ffff");
  EXPECT_EQ(store->find_run(std::to_string(b))->id, b);
  EXPECT_EQ(store->find_run("abcdef01a")->id, a);
  EXPECT_EQ(store->find_run("ABCDEF01B")->id, b) << "upper case too";
  EXPECT_EQ(store->find_run("1234")->id, c) << "digits that are no id are a prefix";
  EXPECT_EQ(store->find_run("ffff")->id, d);
  EXPECT_EQ(store->find_run("ffff" + std::string(60, '0'))->id, d);

  Status ambiguous = store->find_run("abcdef").status();
  EXPECT_EQ(ambiguous.code(), StatusCode::kBadInput);
  EXPECT_NE(ambiguous.text().find("1 (abcdef01aa00 activation_patching)"), std::string::npos) << ambiguous.text();
  EXPECT_NE(ambiguous.text().find("2 (abcdef01bb00"), std::string::npos) << ambiguous.text();
  EXPECT_EQ(store->find_run("abc").status().code(), StatusCode::kBadInput) << "three digits are too few";
  EXPECT_EQ(store->find_run("abce").status().code(), StatusCode::kNotFound);
  for (const char* nothing : {"", "%", "*", "abcd' OR 1=1", "-1", "12345x", "99999999999999999999999", "12 "}) {
    EXPECT_EQ(store->find_run(nothing).status().code(), StatusCode::kNotFound) << nothing;
  }
}

TEST_F(StoreTest, DeletingARunTakesEverythingOfItAndOfNoOther) {
  auto store = open();
  int64_t gone = new_run(*store, 1), kept = new_run(*store, 2);
  AnalysisResult result;
  result.artifacts.push_back(TensorMap{"maps", "", {big_array("big", 0), array_of<float>("small", {1}, {1})}, {}, {}});
  for (int64_t run : {gone, kept}) {
    ASSERT_TRUE(store->begin_attempt(run, "cpu", "{}").is_ok());
    ASSERT_TRUE(store->put_item(run, 0, {array_of<float>("x", {1}, {1})}).is_ok());
    ASSERT_TRUE(store->put_context(run, "c", "{}").is_ok());
    ASSERT_TRUE(store->finish_run(run, result).is_ok());
  }
  ASSERT_TRUE(store->delete_run(gone).is_ok());
  EXPECT_EQ(store->find_run(std::to_string(gone)).status().code(), StatusCode::kNotFound);
  EXPECT_TRUE(store->result(kept).is_ok());
  store.reset();
  Database db(project_, Database::Open::kReadOnly);
  for (const char* table : {"attempts", "items", "results", "artifacts", "arrays", "contexts"}) {
    Statement s(db, std::string("SELECT count(*), min(run_id) FROM ") + table);
    ASSERT_TRUE(s.step());
    EXPECT_EQ(s.integer(0), std::string(table) == "arrays" ? 2 : 1) << table;
    EXPECT_EQ(s.integer(1), kept) << table;
  }
}

TEST_F(StoreTest, FinishingAgainReplacesTheResult) {
  auto store = open();
  int64_t run = new_run(*store);
  AnalysisResult first, second;
  first.findings = {"old"};
  first.artifacts.push_back(Text{"a", "", "old"});
  first.artifacts.push_back(Text{"b", "", "old"});
  second.findings = {"new"};
  second.artifacts.push_back(Text{"a", "", "new"});
  ASSERT_TRUE(store->finish_run(run, first).is_ok());
  ASSERT_TRUE(store->finish_run(run, second).is_ok());
  AnalysisResult back = *store->result(run);
  EXPECT_EQ(back.findings, second.findings);
  ASSERT_EQ(back.artifacts.size(), 1u);
  EXPECT_EQ(std::get<Text>(back.artifacts[0]).markdown, "new");
}

TEST_F(StoreTest, AnInconsistentResultIsRefusedAndChangesNothing) {
  auto store = open();
  int64_t run = new_run(*store);
  AnalysisResult bad;
  bad.artifacts.push_back(Table{"t", "", {{"a", "", ""}, {"b", "", ""}}, {{Cell{int64_t{1}}}}});
  EXPECT_EQ(store->finish_run(run, bad).code(), StatusCode::kInternal);
  NamedArray wrong = array_of<float>("x", {3}, {1, 2});
  EXPECT_FALSE(store->put_item(run, 0, {wrong}).is_ok());
  EXPECT_FALSE(store->put_item(run, 0, {array_of<float>("x", {1}, {1}), array_of<float>("x", {1}, {1})}).is_ok());
  EXPECT_EQ(store->find_run("1")->state, RunStatus::kNew);
  EXPECT_TRUE(store->items_done(run)->empty());
}

TEST_F(StoreTest, GcRemovesUnreferencedTensorFilesAndNothingElse) {
  auto store = open();
  int64_t run = new_run(*store, 1), other = new_run(*store, 2);
  AnalysisResult result;
  result.artifacts.push_back(TensorMap{"maps", "", {big_array("r", 100)}, {}, {}});
  ASSERT_TRUE(store->put_item(run, 0, {big_array("i", 200)}).is_ok());
  ASSERT_TRUE(store->put_item(other, 0, {big_array("i", 200)}).is_ok());      // the same bytes: the same file
  ASSERT_TRUE(store->put_item(other, 1, {big_array("i", 300)}).is_ok());
  ASSERT_TRUE(store->finish_run(run, result).is_ok());
  EXPECT_EQ(tensor_files().size(), 3u);
  EXPECT_EQ(store->gc(false)->files_removed, 0);

  std::string tensors = project_ + "-tensors/";
  write_all(tensors + "notes.txt", "mine");
  write_all(tensors + std::string(64, 'A') + ".safetensors", "upper case is not our name");
  write_all(tensors + std::string(64, 'a') + ".safetensors.tmp-1-0", "left by a killed process");
  std::filesystem::create_directory(tensors + std::string(64, 'b') + ".safetensors");
  ASSERT_TRUE(store->delete_run(other).is_ok());
  auto dry = *store->gc(true);
  EXPECT_EQ(dry.files_removed, 2);
  EXPECT_GT(dry.bytes_freed, 80000);
  EXPECT_EQ(tensor_files().size(), 7u) << "a dry run removes nothing";
  auto wet = *store->gc(false);
  EXPECT_EQ(wet.files_removed, dry.files_removed);
  EXPECT_EQ(wet.bytes_freed, dry.bytes_freed);
  EXPECT_EQ(tensor_files().size(), 5u);
  EXPECT_TRUE(std::filesystem::exists(tensors + "notes.txt"));
  EXPECT_TRUE(same_bits(**store->item(run, 0), {big_array("i", 200)}));
  EXPECT_TRUE(store->result(run).is_ok());
}

TEST_F(StoreTest, ManyThreadsShareOneStore) {
  auto store = open();
  std::vector<int64_t> runs;
  for (uint64_t s = 0; s < 4; ++s) runs.push_back(new_run(*store, s));
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int64_t i = 0; i < 12; ++i) {
        float v = static_cast<float>(t * 100) + static_cast<float>(i);
        failures += !store->put_item(runs[t], i, {array_of<float>("x", {1}, {v})}).is_ok();
        failures += !store->items_done(runs[(t + 1) % 4]).is_ok();
      }
      AnalysisResult r;
      r.findings = {std::to_string(t)};
      failures += !store->finish_run(runs[t], r).is_ok();
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(failures, 0);
  for (size_t t = 0; t < 4; ++t) {
    EXPECT_EQ(store->items_done(runs[t])->size(), 12u);
    EXPECT_EQ(store->result(runs[t])->findings[0], std::to_string(t));
    EXPECT_TRUE(same_bits(**store->item(runs[t], 7), {array_of<float>("x", {1}, {static_cast<float>(t * 100 + 7)})}));
  }
}

}  // namespace
}  // namespace microtome
