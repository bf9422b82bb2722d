// Notes on artifacts and the trash: what the desktop app's undo rests on.
#include "core/store/artifact_codec.h"
#include "core/store/schema.h"
#include "core/store/sql.h"
#include "tests/unit/store/store_fixture.h"

namespace microtome {
namespace {

TEST_F(StoreTest, ARunInTheTrashIsOutOfTheListAndComesBackWhole) {
  auto store = open();
  int64_t kept = new_run(*store, 1), gone = new_run(*store, 2);
  ASSERT_TRUE(store->put_item(gone, 0, {}));
  ASSERT_TRUE(store->set_note(gone, "why"));
  ASSERT_TRUE(store->set_deleted(gone, true));
  ASSERT_EQ(store->runs()->size(), 1u);
  EXPECT_EQ(store->runs()->front().id, kept);
  auto trash = store->trash().value();
  ASSERT_EQ(trash.size(), 1u);
  EXPECT_EQ(trash[0].id, gone);
  EXPECT_EQ(trash[0].deleted.size(), 20u);
  EXPECT_EQ(store->find_run(std::to_string(gone))->note, "why") << "it is still found by number";
  ASSERT_TRUE(store->set_deleted(gone, false));
  EXPECT_EQ(store->runs()->size(), 2u);
  EXPECT_EQ(store->items_done(gone)->size(), 1u);
  EXPECT_EQ(store->set_deleted(999, true).code(), StatusCode::kNotFound);
}

TEST_F(StoreTest, AskingForTheSameRunTakesItOutOfTheTrash) {
  auto store = open();
  RunSpec spec = sample_spec(3);
  RunKey key = make_run_key(spec);
  int64_t id = store->begin_run(spec, key, "t")->id;
  ASSERT_TRUE(store->set_deleted(id, true));
  RunRecord again = store->begin_run(spec, key, "t").value();
  EXPECT_EQ(again.id, id);
  EXPECT_EQ(again.deleted, "");
  EXPECT_TRUE(store->trash()->empty());
}

TEST_F(StoreTest, EmptyingTheTrashRemovesOnlyWhatLiesInIt) {
  auto store = open();
  int64_t kept = new_run(*store, 1), gone = new_run(*store, 2);
  ASSERT_TRUE(store->set_artifact_note(gone, "effect", "odd"));
  ASSERT_TRUE(store->set_deleted(gone, true));
  EXPECT_EQ(store->empty_trash().value(), 1);
  EXPECT_EQ(store->empty_trash().value(), 0);
  EXPECT_EQ(store->runs()->front().id, kept);
  EXPECT_EQ(store->find_run(std::to_string(gone)).status().code(), StatusCode::kNotFound);
}

TEST_F(StoreTest, AnArtifactKeepsItsNote) {
  int64_t id;
  {
    auto store = open();
    id = new_run(*store, 1);
    ASSERT_TRUE(store->set_artifact_note(id, "effect", "first"));
    ASSERT_TRUE(store->set_artifact_note(id, "effect", "second"));
    ASSERT_TRUE(store->set_artifact_note(id, "value", "gone soon"));
    ASSERT_TRUE(store->set_artifact_note(id, "value", ""));
  }
  auto store = open(ResultStore::Mode::kReadOnly);
  EXPECT_EQ(store->artifact_notes(id).value(), (std::map<std::string, std::string>{{"effect", "second"}}));
  EXPECT_EQ(store->set_artifact_note(id, "effect", "x").code(), StatusCode::kFailed) << "open for reading only";
  EXPECT_EQ(store->artifact_notes(99).status().code(), StatusCode::kNotFound);
}

// A project of version 1, as earlier versions of the program wrote it, is brought up to date with all it holds.
TEST_F(StoreTest, AnOlderProjectGetsTrashAndNotesAndLosesNothing) {
  auto steps = embedded_migrations();
  create_project(project_, {steps[0]});
  {
    Database db(project_, Database::Open::kReadWrite);
    db.exec("INSERT INTO runs (key_hash, key_text, analysis, model_name, dataset_name, title, command, created, spec) "
            "VALUES ('" + std::string(64, 'a') + "', '', 'dla', 'm', 'd', 'old', '', '', '" + encode_spec(sample_spec(), "here") + "')");
  }
  EXPECT_EQ(ResultStore::open(project_, ResultStore::Mode::kReadOnly).status().code(), StatusCode::kUnsupported);
  auto store = open();
  ASSERT_EQ(store->runs()->size(), 1u);
  EXPECT_EQ(store->runs()->front().title, "old");
  EXPECT_EQ(store->runs()->front().deleted, "");
  EXPECT_TRUE(store->set_artifact_note(store->runs()->front().id, "a", "b"));
}

}  // namespace
}  // namespace microtome
