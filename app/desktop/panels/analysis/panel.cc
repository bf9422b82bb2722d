// Run: every analysis there is, set up by a form made from its schema, and what it gave. A plug-in's is like any other.
#include <QKeyEvent>
#include <QLineEdit>
#include <QListView>
#include <QShortcut>
#include <QSplitter>
#include <QStackedWidget>
#include <QTabBar>
#include <QVBoxLayout>

#include "app/desktop/panels/analysis/catalogue.h"
#include "app/desktop/panels/analysis/outcome.h"
#include "app/desktop/panels/analysis/setup.h"
#include "app/desktop/panels/registry.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/param_form.h"
#include "app/desktop/views/row_delegate.h"

namespace microtome::desktop {
namespace {

class AnalysisPanel : public Panel {
 public:
  AnalysisPanel(Session& session, const PanelInfo& info, QWidget* parent) : Panel(session, info, parent) {
    waiting_ = new EmptyState(tr("Getting the analyses"), tr("The core is being opened; this takes a moment after the start."), {}, this);
    splitter_ = new QSplitter(Qt::Horizontal, this);
    splitter_->setChildrenCollapsible(false);
    makeList();
    makeRight();
    splitter_->setStretchFactor(0, 0);
    splitter_->setStretchFactor(1, 1);
    splitter_->setSizes({26 * kGrid, 70 * kGrid});
    stack_ = new QStackedWidget(this);
    stack_->addWidget(waiting_);
    stack_->addWidget(splitter_);
    body()->addWidget(stack_);

    connect(&session, &Session::engineChanged, this, [this] { scheduleRefresh(); });
    connect(&session, &Session::modelChanged, this, [this] { scheduleRefresh(); });
    connect(&session, &Session::openingChanged, this, [this] { scheduleRefresh(); });
    connect(&session, &Session::promptsChanged, this, [this] { scheduleRefresh(); });
    connect(&session, &Session::projectChanged, this, [this] { scheduleRefresh(); });
    connect(&session, &Session::deviceChanged, this, [this] { scheduleRefresh(); });
    connect(&session.selection(), &Selection::promptChanged, this, [this] { scheduleRefresh(); });
    for (const auto key : {Qt::CTRL | Qt::Key_Return, Qt::CTRL | Qt::Key_Enter}) {
      auto* shortcut = new QShortcut(QKeySequence(key), this);
      shortcut->setContext(Qt::WidgetWithChildrenShortcut);
      connect(shortcut, &QShortcut::activated, this, [this] { start(false); });
    }
  }

  std::vector<View*> views() const override { return pages_->currentIndex() == 1 ? outcome_->views() : std::vector<View*>(); }
  QByteArray saveState() const override { return setup_->analysis().toUtf8() + '\n' + splitter_->saveState(); }
  void restoreState(const QByteArray& state) override {
    const qsizetype end = state.indexOf('\n');
    wanted_ = QString::fromUtf8(state.left(end < 0 ? state.size() : end));
    if (end >= 0) splitter_->restoreState(state.mid(end + 1));
    choose(wanted_);
  }

 protected:
  void refresh() override {
    if (!session().engineReady()) {
      stack_->setCurrentWidget(waiting_);
      return;
    }
    if (known_ != session().analyses().size()) {
      known_ = session().analyses().size();
      const QString chosen = setup_->analysis().isEmpty() ? wanted_ : setup_->analysis();
      list_->setAnalyses(session().analyses());
      choose(chosen);
    }
    stack_->setCurrentWidget(splitter_);
    setup_->refreshChoices();
  }

  bool eventFilter(QObject* object, QEvent* event) override {
    if (object == filterField_ && event->type() == QEvent::KeyPress && static_cast<QKeyEvent*>(event)->key() == Qt::Key_Down) {
      view_->setFocus();
      if (!view_->currentIndex().isValid() && filter_->rowCount() > 0) view_->setCurrentIndex(filter_->index(0, 0));
      return true;
    }
    return Panel::eventFilter(object, event);
  }

 private:
  void makeList() {
    auto* left = new QWidget(splitter_);
    auto* column = new QVBoxLayout(left);
    column->setContentsMargins(0, 0, kGrid, 0);
    column->setSpacing(kGrid / 2);
    filterField_ = new QLineEdit(left);
    filterField_->setObjectName(QStringLiteral("filter"));
    filterField_->setPlaceholderText(tr("Filter"));
    filterField_->setAccessibleName(tr("Filter the analyses"));
    filterField_->setClearButtonEnabled(true);
    filterField_->installEventFilter(this);
    list_ = new AnalysisList(this);
    filter_ = new AnalysisFilter(this);
    filter_->setSourceModel(list_);
    view_ = new QListView(left);
    view_->setObjectName(QStringLiteral("analyses"));
    view_->setAccessibleName(tr("Analyses"));
    view_->setModel(filter_);
    view_->setItemDelegate(new RowDelegate(view_));
    view_->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    view_->setVerticalScrollMode(QAbstractItemView::ScrollPerPixel);
    view_->setMouseTracking(true);
    column->addWidget(filterField_);
    column->addWidget(view_, 1);
    left->setMinimumWidth(20 * kGrid);
    splitter_->addWidget(left);
    connect(filterField_, &QLineEdit::textChanged, filter_, &AnalysisFilter::setText);
    connect(view_->selectionModel(), &QItemSelectionModel::currentChanged, this, [this](const QModelIndex& index) {
      // A filter that hides the chosen one does not unset it.
      const QString name = index.data(AnalysisList::kNameRole).toString();
      if (name.isEmpty() || name == setup_->analysis()) return;
      setup_->setAnalysis(name);
      tabs_->setCurrentIndex(0);
    });
    connect(view_, &QListView::activated, this, [this] {
      tabs_->setCurrentIndex(0);
      for (QWidget* control : setup_->form()->findChildren<QWidget*>())
        if (control->isVisible() && control->focusPolicy() & Qt::TabFocus) return control->setFocus(Qt::TabFocusReason);
    });
  }

  void makeRight() {
    auto* right = new QWidget(splitter_);
    auto* column = new QVBoxLayout(right);
    column->setContentsMargins(kGrid, 0, 0, 0);
    column->setSpacing(0);
    tabs_ = new QTabBar(right);
    tabs_->setObjectName(QStringLiteral("pages"));
    tabs_->setDrawBase(false);
    tabs_->setExpanding(false);
    tabs_->addTab(tr("Set up"));
    tabs_->addTab(tr("Result"));
    tabs_->setTabToolTip(1, tr("What was last started here"));
    pages_ = new QStackedWidget(right);
    setup_ = new AnalysisSetup(session(), pages_);
    outcome_ = new AnalysisOutcome(*this, pages_);
    pages_->addWidget(setup_);
    pages_->addWidget(outcome_);
    column->addWidget(tabs_);
    column->addWidget(pages_, 1);
    splitter_->addWidget(right);
    connect(tabs_, &QTabBar::currentChanged, pages_, &QStackedWidget::setCurrentIndex);
    connect(setup_, &AnalysisSetup::runWanted, this, [this](bool again) { start(again); });
  }

  void choose(const QString& name) {
    if (filter_->rowCount() == 0) return;
    QModelIndex index = filter_->index(0, 0);
    for (int i = 0; i < filter_->rowCount(); ++i)
      if (filter_->index(i, 0).data(AnalysisList::kNameRole).toString() == name) index = filter_->index(i, 0);
    view_->setCurrentIndex(index);
    view_->scrollTo(index);
  }

  void start(bool again) {
    QString why;
    if (!setup_->canRun(&why)) {
      showNotice(why);
      return;
    }
    std::vector<RunRequest> requests = setup_->requests();
    for (RunRequest& r : requests) r.again = again;
    clearBar();
    if (outcome_->start(requests)) tabs_->setCurrentIndex(1);
  }

  EmptyState* waiting_;
  QSplitter* splitter_;
  QStackedWidget *stack_, *pages_;
  QTabBar* tabs_;
  QLineEdit* filterField_;
  QListView* view_;
  AnalysisList* list_;
  AnalysisFilter* filter_;
  AnalysisSetup* setup_;
  AnalysisOutcome* outcome_;
  QString wanted_;
  size_t known_ = 0;
};

}  // namespace
}  // namespace microtome::desktop

namespace microtome::panels {

void register_analysis(Registry& registry) {
  using namespace desktop;
  const PanelInfo info{
      QStringLiteral("analysis"),
      QObject::tr("Run"),
      QObject::tr(
          "Every analysis, built in or from a plug-in: set its parameters, run it on one model or both, see the result."),
      PanelArea::kCentre,
      80,
      QStringLiteral("Ctrl+E")};
  registry.add({info, [info](Session& session, QWidget* parent) { return new AnalysisPanel(session, info, parent); }});
}

}  // namespace microtome::panels
