// stored_results.h — results made by hand, written into the project past the session, as another program leaves them.
#pragma once

#include <QAbstractItemView>
#include <QLabel>
#include <QPushButton>
#include <QToolButton>

#include "core/store/run_spec.h"
#include "tests/desktop/app/app_fixture.h"

namespace microtome::desktop {

class StoredResultsTest : public AppTest {
 protected:
  void TearDown() override {
    panel_.reset();
    AppTest::TearDown();
  }
  RunSpec specOf(const std::string& analysis, std::map<std::string, std::string> params = {}) const {
    RunSpec spec;
    spec.analysis = analysis;
    spec.answer_params = std::move(params);
    spec.model_path = (models() + QStringLiteral("/zoo-llama")).toStdString();
    spec.model_name = "zoo-llama";
    spec.weights_hash = "made by a test";
    spec.command = "microtome run " + analysis + " --model zoo-llama";
    for (const auto& [name, value] : spec.answer_params) spec.command += " --" + name + " " + value;
    return spec;
  }
  // result null: the run stopped after 3 of 8 items.
  qint64 storeRun(const RunSpec& spec, const std::string& title, const AnalysisResult* result) {
    qint64 id = 0;
    bool told = false;
    session_->post(
        QStringLiteral("test"), QStringLiteral("store"), session_.get(),
        [store = session_->store(), spec, title, result](Progress&) {
          const RunRecord r = store->begin_run(spec, make_run_key(spec), title).value();
          const int64_t attempt = store->begin_attempt(r.id, "cpu", "{}").value();
          (void)store->set_items_total(r.id, 8);
          for (int64_t i = 0; i < 3; ++i) (void)store->put_item(r.id, i, {});
          if (result) (void)store->finish_run(r.id, *result);
          (void)store->end_attempt(attempt, 1.5, result ? "" : "cancelled", "[]");
          return r.id;
        },
        [&](const Result<int64_t>& made) {
          id = made ? made.value() : 0;
          told = true;
        });
    EXPECT_TRUE(waitUntil([&] { return told; }));
    EXPECT_NE(id, 0);
    // Any edit of a note reads the list anew; the first needs a run that is listed, so the project is opened again.
    reopen();
    EXPECT_TRUE(waitUntil([&] { return session_->findRun(id) != nullptr; }));
    return id;
  }
  void reopen() {
    bool asked = false;
    const auto link = QObject::connect(session_.get(), &Session::runsChanged, [&] { asked = true; });
    for (const RunRecord& r : session_->runs()) {
      session_->setNote(r.id, QStringLiteral("looked at %1").arg(++looks_));
      EXPECT_TRUE(waitUntil([&] { return asked; }));
      QObject::disconnect(link);
      EXPECT_TRUE(settle());
      return;
    }
    QObject::disconnect(link);
    // An empty list: a preview of what is read at the next opening.
    const QString path = session_->projectPath();
    session_->openProject(folder_.filePath(QStringLiteral("other-%1.microtome").arg(++looks_)));
    EXPECT_TRUE(settle());
    session_->openProject(path);
    EXPECT_TRUE(settle());
  }
  // 64 sequences of 64 ids below `vocab`, in which ids repeat; gives the path.
  static QString writeTokens(const QString& path, int64_t vocab) {
    QFile file(path);
    EXPECT_TRUE(file.open(QIODevice::WriteOnly));
    QByteArray out = "[";
    quint32 state = 7;
    for (int s = 0; s < 64; ++s) {
      out += s ? ",[" : "[";
      for (int t = 0; t < 64; ++t) {
        state = state * 1664525u + 1013904223u;
        out += (t ? "," : "") + QByteArray::number(static_cast<qint64>((state >> 8) % 97) % vocab);
      }
      out += "]";
    }
    file.write(out + "]");
    return path;
  }
  template <class T>
  T* find(const char* name) const {
    T* w = panel_->findChild<T*>(QLatin1String(name));
    EXPECT_TRUE(w) << name;
    return w;
  }
  QString text(const char* name) const {
    auto* label = panel_->findChild<QLabel*>(QLatin1String(name));
    return label ? label->text() : QString();
  }
  EmptyState* emptyState() const {
    for (EmptyState* e : panel_->findChildren<EmptyState*>())
      if (e->isVisible()) return e;
    return nullptr;
  }
  void open(const char* id, const QSize& size = QSize(1000, 620)) {
    panel_.reset(makePanel(id, size));
    ASSERT_TRUE(panel_);
    ASSERT_TRUE(QTest::qWaitForWindowExposed(panel_.get()));
    ASSERT_TRUE(settle());
  }
  std::unique_ptr<Panel> panel_;
  int looks_ = 0;
};

}  // namespace microtome::desktop
