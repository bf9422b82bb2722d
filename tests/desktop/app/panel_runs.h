// panel_runs.h — what the tests of panels that show stored runs share: running analyses and waiting for them.
#pragma once

#include <QAbstractItemView>

#include "tests/desktop/app/app_fixture.h"

namespace microtome::desktop {

class PanelRunsTest : public AppTest {
 protected:
  // Runs it, waits, gives the run's number; 0 after a failure.
  qint64 runAnalysis(const char* name, std::map<std::string, std::string> params = {}, int slot = 0) {
    RunRequest request;
    request.analysis = QString::fromLatin1(name);
    request.params = std::move(params);
    request.slot = slot;
    qint64 out = 0;
    const auto link = QObject::connect(session_.get(), &Session::runFinished,
                                       [&](qint64, const QString&, int, const RunViewPtr& run) { out = run->record.id; });
    EXPECT_NE(session_->run(request), 0) << problems_.join(QLatin1Char('\n')).toStdString();
    EXPECT_TRUE(waitUntil([&] { return out != 0 && session_->findRun(out); }))
        << name << ": " << problems_.join(QLatin1Char('\n')).toStdString();
    QObject::disconnect(link);
    EXPECT_TRUE(settle());
    return out;
  }

  // A stored run that stopped after `done` of its items, as a killed program leaves it. It is written past the session, which
  // is then told to look again.
  qint64 leaveUnfinished(qint64 like, const QString& analysis, const std::string& error = {}) {
    const RunRecord* model = session_->findRun(like);
    if (!model) return 0;
    RunSpec spec = model->spec;
    spec.analysis = analysis.toStdString();
    const app::AnalysisFacts* facts = session_->findAnalysis(analysis);
    spec.answer_params.clear();
    spec.cost_params.clear();
    for (const ParamSpec& p : facts->schema.specs)
      (p.affects_answer ? spec.answer_params : spec.cost_params)[p.name] = param_text(p.fallback);
    spec.analysis_version = facts->info.version;
    qint64 id = 0;
    bool told = false;
    session_->post(
        QStringLiteral("test"), QStringLiteral("store"), session_.get(),
        [store = session_->store(), spec, error, title = facts->info.title](Progress&) {
          const RunRecord r = store->begin_run(spec, make_run_key(spec), title).value();
          const int64_t attempt = store->begin_attempt(r.id, "cpu", "{\"microtome\": \"0.1.0\"}").value();
          (void)store->set_items_total(r.id, 8);
          (void)store->end_attempt(attempt, 1.5, error, "[]");
          return r.id;
        },
        [&](const Result<int64_t>& made) {
          id = made ? made.value() : 0;
          told = true;
        });
    EXPECT_TRUE(waitUntil([&] { return told; }));
    // Any edit reads the list anew.
    session_->setNote(like, QStringLiteral("the baseline"));
    EXPECT_TRUE(waitUntil([&] { return session_->findRun(id) != nullptr; }));
    EXPECT_TRUE(settle());
    return id;
  }

  static QString textOf(QWidget* parent, const char* name) {
    auto* label = parent->findChild<QLabel*>(QString::fromLatin1(name));
    return label ? label->text() : QString();
  }
  // Clicks an item as a person does, with the keys held.
  static void click(QAbstractItemView* view, const QModelIndex& index, Qt::KeyboardModifiers keys = {}) {
    view->scrollTo(index);
    QTest::mouseClick(view->viewport(), Qt::LeftButton, keys, view->visualRect(index).center());
  }
};

}  // namespace microtome::desktop
