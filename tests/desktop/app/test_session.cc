// The session without a window: models, prompts, runs, notes and undo against the engine's and the store's own numbers.
#include <QProcess>
#include <QSignalSpy>
#include <cmath>

#include "app/desktop/session/session_impl.h"
#include "tests/desktop/app/app_fixture.h"

namespace microtome::desktop {
namespace {

// What a shell would make of a line: only what shellWord() writes.
QStringList shellWords(const QString& line) {
  QStringList out;
  QString word;
  bool quoted = false, any = false;
  for (qsizetype i = 0; i < line.size(); ++i) {
    const QChar c = line[i];
    if (c == QLatin1Char('\'')) { quoted = !quoted; any = true; }
    else if (!quoted && c == QLatin1Char('\\') && i + 1 < line.size()) { word += line[++i]; any = true; }
    else if (!quoted && c == QLatin1Char(' ')) { if (any) out << word; word.clear(); any = false; }
    else { word += c; any = true; }
  }
  if (any) out << word;
  return out;
}

TEST(ShellWord, ComesBackWhole) {
  for (const QString& word : {QStringLiteral("plain"), QStringLiteral("it's"), QStringLiteral("a b"), QString(), QStringLiteral("$(rm -rf ~)"),
                              QStringLiteral("a\nb"), QStringLiteral("·é"), QStringLiteral("--x=\"y\"")})
    EXPECT_EQ(shellWords(shellWord(word) + QStringLiteral(" next")), (QStringList{word, QStringLiteral("next")})) << word.toStdString();
}

TEST_F(AppTest, AWrongFolderSaysWhatIsMissingAndTheOpenModelStays) {
  openTwins(4, false);
  problems_.clear();
  session_->openModel(folder_.path(), 0);
  ASSERT_TRUE(waitUntil([&] { return !session_->opening(0); }));
  ASSERT_FALSE(problems_.isEmpty());
  EXPECT_TRUE(problems_.last().contains(QStringLiteral("config.json"))) << problems_.last().toStdString();
  ASSERT_TRUE(session_->model(0));
  EXPECT_EQ(session_->model(0)->facts().name, "zoo-llama");
}

TEST_F(AppTest, AFileOfTheFolderOpensTheFolder) {
  session_->openModel(models() + QStringLiteral("/zoo-llama/config.json"), 0);
  ASSERT_TRUE(waitUntil([&] { return session_->model(0) != nullptr; }));
  EXPECT_EQ(session_->model(0)->facts().layers.size(), 4u);
}

TEST_F(AppTest, ARunIsStoredAndItsCommandGivesTheSameKey) {
  openTwins();
  QSignalSpy done(session_.get(), &Session::runFinished);
  RunRequest request;
  request.analysis = QStringLiteral("dla");
  const qint64 job = session_->run(request);
  ASSERT_NE(job, 0);
  ASSERT_TRUE(waitUntil([&] { return done.count() == 1; })) << problems_.join(QLatin1Char('\n')).toStdString();
  EXPECT_EQ(done[0][0].toLongLong(), job);
  const auto run = done[0][3].value<RunViewPtr>();
  ASSERT_TRUE(run);
  EXPECT_GT(run->record.id, 0);
  ASSERT_TRUE(settle());
  ASSERT_EQ(session_->runs().size(), 1u);
  EXPECT_EQ(session_->runs()[0].state, RunStatus::kDone);
  const QString command = qstr(run->record.command);
  EXPECT_TRUE(command.startsWith(QStringLiteral("microtome run dla --model "))) << command.toStdString();
  EXPECT_TRUE(command.contains(QStringLiteral("--task ioi --prompts 8")));
  const QString key = qstr(run->record.key_hash);
  session_.reset();                    // gives the project free

  QStringList words = shellWords(command);
  words[0] = QStringLiteral(MICROTOME_BINARY_DIR "/microtome");
  words << QStringLiteral("--json");
  QProcess program;
  program.start(words.takeFirst(), words);
  ASSERT_TRUE(program.waitForFinished(120000));
  EXPECT_EQ(program.exitCode(), 0) << program.readAllStandardError().toStdString();
  EXPECT_TRUE(program.readAllStandardOutput().contains(key.toLatin1())) << "the command repeats the run under its own key";
}

TEST_F(AppTest, OnePromptAsTypedRunsUnderItsCommandToo) {
  openTwins(4, false);
  PromptPair pair;
  pair.clean = "When Mary and John went to the store, John gave a book to";
  pair.corrupted = "When Mary and John went to the store, Mary gave a book to";
  pair.answers = {" Mary"};
  pair.wrong_answers = {" John"};
  session_->setTyped(pair);
  ASSERT_TRUE(waitUntil([&] { return session_->prompts().bySlot[0] && session_->prompts().source.kind == PromptSource::Kind::kTyped; }));
  RunRequest request;
  request.analysis = QStringLiteral("attention");
  request.onePrompt = true;
  QSignalSpy done(session_.get(), &Session::runFinished);
  ASSERT_NE(session_->run(request), 0);
  ASSERT_TRUE(waitUntil([&] { return done.count() == 1; })) << problems_.join(QLatin1Char('\n')).toStdString();
  const auto run = done[0][3].value<RunViewPtr>();
  QStringList words = shellWords(qstr(run->record.command));
  EXPECT_TRUE(words.contains(QStringLiteral("--answer")));
  EXPECT_TRUE(words.contains(QStringLiteral(" Mary")));
  const QString key = qstr(run->record.key_hash);
  session_.reset();
  words[0] = QStringLiteral(MICROTOME_BINARY_DIR "/microtome");
  words << QStringLiteral("--json");
  QProcess program;
  program.start(words.takeFirst(), words);
  ASSERT_TRUE(program.waitForFinished(120000));
  EXPECT_TRUE(program.readAllStandardOutput().contains(key.toLatin1()));
}

TEST_F(AppTest, NotesAndDeletionAreUndoneAndKept) {
  openTwins(4, false);
  RunRequest request;
  request.analysis = QStringLiteral("logit_lens");
  ASSERT_NE(session_->run(request), 0);
  ASSERT_TRUE(waitUntil([&] { return session_->runs().size() == 1 && session_->runs()[0].state == RunStatus::kDone; }));
  const qint64 id = session_->runs()[0].id;
  session_->setNote(id, QStringLiteral("look here"));
  session_->setViewNote(id, QStringLiteral("logit_lens"), QStringLiteral("odd"));
  session_->deleteRun(id);
  EXPECT_TRUE(session_->runs().empty());
  ASSERT_TRUE(settle());
  EXPECT_EQ(session_->store()->trash().value().size(), 1u);
  session_->undoStack().undo();        // the deletion
  ASSERT_TRUE(settle());
  ASSERT_EQ(session_->runs().size(), 1u);
  EXPECT_EQ(session_->runs()[0].note, "look here");
  EXPECT_EQ(session_->viewNote(id, QStringLiteral("logit_lens")), QStringLiteral("odd"));
  session_->undoStack().undo();        // the note on the view
  session_->undoStack().undo();        // the note on the run
  ASSERT_TRUE(settle());
  EXPECT_EQ(session_->store()->find_run(std::to_string(id))->note, "");
  session_->undoStack().redo();
  ASSERT_TRUE(settle());
  EXPECT_EQ(session_->store()->find_run(std::to_string(id))->note, "look here");
}

TEST_F(AppTest, PromptsAreUndone) {
  openTwins(4, false);
  const std::string before = session_->prompts().bySlot[0]->pairs[0].clean;
  PromptSource source;
  source.kind = PromptSource::Kind::kTask;
  source.task = QStringLiteral("induction");
  source.count = 3;
  session_->setTask(source);
  ASSERT_TRUE(waitUntil([&] { return session_->prompts().bySlot[0] && session_->prompts().bySlot[0]->pairs.size() == 3; }));
  session_->undoStack().undo();
  ASSERT_TRUE(waitUntil([&] { return session_->prompts().bySlot[0] && session_->prompts().bySlot[0]->pairs.size() == 4; }));
  EXPECT_EQ(session_->prompts().bySlot[0]->pairs[0].clean, before);
}

TEST_F(AppTest, ClosingDuringARunLosesNothing) {
  openTwins(64, false);
  RunRequest request;
  request.analysis = QStringLiteral("activation_patching");
  request.params = {{"site", "z"}, {"by_position", "true"}};
  ASSERT_NE(session_->run(request), 0);
  // Until something is committed and not all of it.
  int64_t id = 0;
  ASSERT_TRUE(waitUntil([&] {
    for (const RunRecord& r : session_->store()->runs().value()) {
      id = r.id;
      return r.items_done >= 1;
    }
    return false;
  }));
  session_.reset();
  auto store = ResultStore::open(folder_.filePath(QStringLiteral("test.microtome")).toStdString(), ResultStore::Mode::kReadOnly).value();
  const RunRecord left = store->find_run(std::to_string(id)).value();
  EXPECT_GE(left.items_done, 1);
  if (left.state != RunStatus::kDone) {
    EXPECT_EQ(left.state, RunStatus::kPartial);
    EXPECT_EQ(store->attempts(id)->back().items_after, left.items_done);
  }
}

TEST_F(AppTest, SavingAsGoesOnInTheCopy) {
  openTwins(4, false);
  RunRequest request;
  request.analysis = QStringLiteral("logit_lens");
  ASSERT_NE(session_->run(request), 0);
  ASSERT_TRUE(waitUntil([&] { return session_->runs().size() == 1 && !session_->busy(); }));
  ASSERT_TRUE(settle());
  const QString copy = folder_.filePath(QStringLiteral("deeper/copy.microtome"));
  session_->saveProjectAs(copy);
  ASSERT_TRUE(waitUntil([&] { return session_->projectPath() == copy && session_->runs().size() == 1; })) << problems_.join(QLatin1Char('\n')).toStdString();
  RunViewPtr read;
  session_->loadRun(session_->runs()[0].id, session_.get(), [&](RunViewPtr r) { read = r; });
  ASSERT_TRUE(waitUntil([&] { return read != nullptr; }));
  EXPECT_FALSE(read->result.artifacts.empty());
}

TEST_F(AppTest, PatchedNextTokensAreTheGridsOwnRuns) {
  openTwins(4, false);
  const PromptPair pair = session_->prompts().bySlot[0]->pairs[0];
  app::Engine* engine = session_->engine();
  const auto clean = engine->next_tokens(*session_->model(0), pair.clean_ids, 5, pair.answer_ids);
  const auto corrupted = engine->next_tokens(*session_->model(0), pair.corrupted_ids, 5, pair.answer_ids);
  ASSERT_EQ(clean.top.size(), 5u);
  ASSERT_EQ(clean.asked.size(), 1u);
  double sum = 0;
  for (const auto& t : clean.top) sum += t.probability;
  EXPECT_LE(sum, 1.0 + 1e-9);
  // Putting the clean residual at every place of the last layer's end is the clean run at the last position.
  const int64_t last = static_cast<int64_t>(session_->model(0)->facts().layers.size()) - 1;
  app::CellRequest cell;
  cell.site = "resid_post";
  cell.layer = last;
  cell.pos = static_cast<int64_t>(pair.clean_ids.size()) - 1;
  const auto patched = engine->patched_tokens(*session_->model(0), pair, cell, 5, pair.answer_ids);
  EXPECT_NEAR(patched.asked[0].logit, clean.asked[0].logit, 1e-4);
  EXPECT_GT(std::abs(clean.asked[0].logit - corrupted.asked[0].logit), 1e-2) << "the two prompts must be told apart for this to say anything";
  cell.layer = 99;
  EXPECT_THROW(engine->patched_tokens(*session_->model(0), pair, cell, 5, {}), Error);
}

}  // namespace
}  // namespace microtome::desktop
