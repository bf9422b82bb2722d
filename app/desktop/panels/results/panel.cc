// Results: the selected run as a result, and a second one beside it with what differs between the two.
#include <QSplitter>
#include <QStackedWidget>
#include <QTableView>
#include <QHeaderView>
#include <QToolButton>
#include <QVBoxLayout>
#include <utility>

#include "app/desktop/panels/registry.h"
#include "app/desktop/panels/results/differences.h"
#include "app/desktop/panels/results/run_pane.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/table_view.h"

namespace microtome::desktop {
namespace {

// More differing fields than this are scrolled.
constexpr int kMostRows = 4;

class ResultsPanel : public Panel {
 public:
  ResultsPanel(Session& session, const PanelInfo& info, QWidget* parent) : Panel(session, info, parent) {
    empty_ = new EmptyState({}, {}, {}, this);
    content_ = new QWidget(this);
    auto* column = new QVBoxLayout(content_);
    column->setContentsMargins(0, 0, 0, 0);
    column->setSpacing(kGrid);
    compared_ = new QWidget(content_);
    auto* comparedColumn = new QVBoxLayout(compared_);
    comparedColumn->setContentsMargins(0, 0, 0, 0);
    comparedColumn->setSpacing(kGrid / 2);
    auto* row = new QHBoxLayout;
    heading_ = new QLabel(compared_);
    heading_->setObjectName(QStringLiteral("differences_heading"));
    heading_->setProperty("role", QStringLiteral("section"));
    row->addWidget(heading_, 1);
    auto* end = new QToolButton(compared_);
    end->setObjectName(QStringLiteral("end_comparison"));
    end->setText(tr("Show one"));
    end->setToolTip(tr("End the comparison and keep the left run"));
    end->setFocusPolicy(Qt::StrongFocus);
    row->addWidget(end);
    comparedColumn->addLayout(row);
    differences_ = new TableView(compared_);
    differences_->setObjectName(QStringLiteral("differences"));
    differences_->setFilterVisible(false);
    differences_->setEmptyText(tr("The same key: both have the same answer."));
    comparedColumn->addWidget(differences_);
    column->addWidget(compared_);
    splitter_ = new QSplitter(Qt::Horizontal, content_);
    splitter_->setChildrenCollapsible(false);
    left_ = new RunPane(*this, splitter_);
    right_ = new RunPane(*this, splitter_);
    left_->setObjectName(QStringLiteral("left"));
    right_->setObjectName(QStringLiteral("right"));
    right_->layout()->setContentsMargins(kGrid, 0, 0, 0);
    column->addWidget(splitter_, 1);
    stack_ = new QStackedWidget(this);
    stack_->addWidget(empty_);
    stack_->addWidget(content_);
    body()->addWidget(stack_);
    adopt(differences_);

    pairUp(left_->result(), right_->result());
    connect(end, &QToolButton::clicked, this, [this] { this->session().selection().setCompareRun(0); });
    connect(empty_, &EmptyState::pressed, this, [this] {
      Session& s = this->session();
      if (!s.runs().empty()) s.selection().setRun(s.runs().front().id);
      else if (s.model(0)) Q_EMIT s.panelWanted(QStringLiteral("analysis"));
      else s.openDemo();
    });
    connect(&session.selection(), &Selection::runChanged, this, [this] { scheduleRefresh(); });
    connect(&session.selection(), &Selection::compareRunChanged, this, [this] { scheduleRefresh(); });
    connect(&session.selection(), &Selection::promptChanged, this, [this] { scheduleRefresh(); });
    for (auto signal : {&Session::runsChanged, &Session::projectChanged, &Session::promptsChanged, &Session::engineChanged})
      connect(&session, signal, this, [this] { scheduleRefresh(); });
    connect(&session, &Session::modelChanged, this, [this] { scheduleRefresh(); });
  }

  std::vector<View*> views() const override {
    std::vector<View*> out;
    if (stack_->currentWidget() != content_) return out;
    const bool two = compared_->isVisibleTo(content_);
    if (two) out.push_back(differences_);
    for (const RunPane* pane : {left_, right_})
      if (pane == left_ || two)
        for (View* view : pane->views()) out.push_back(view);
    return out;
  }

 protected:
  void refresh() override {
    Session& s = session();
    const RunRecord* a = s.findRun(s.selection().run());
    const RunRecord* b = a ? s.findRun(s.selection().compareRun()) : nullptr;
    if (!a) {
      left_->show(0);
      right_->show(0);
      if (!s.runs().empty())
        empty_->setText(tr("No run is selected"), tr("Choose one in Project, or two to compare them."),
                        tr("Show the newest"));
      else if (s.model(0))
        empty_->setText(tr("No runs yet"), tr("What you run is kept in the project and shown here."),
                        tr("Choose an analysis"));
      else
        empty_->setText(tr("No runs yet"), tr("Open a model folder, or see the two models that ship with Microtome."),
                        tr("Try the demo"));
      stack_->setCurrentWidget(empty_);
      return;
    }
    compared_->setVisible(b != nullptr);
    left_->layout()->setContentsMargins(0, 0, b ? kGrid : 0, 0);
    right_->setVisible(b != nullptr);
    if (b) showDifferences(*a, *b);
    else if (!std::exchange(pair_, {}).first.empty()) Q_EMIT left_->result()->pictureShown();   // back to a scale of its own
    // The panes look the runs up anew: their state may have changed.
    left_->show(a->id);
    right_->show(b ? b->id : 0);
    stack_->setCurrentWidget(content_);
  }

 private:
  void showDifferences(const RunRecord& a, const RunRecord& b) {
    const std::pair<std::string, std::string> pair(a.key_hash, b.key_hash);
    if (pair == pair_) return;
    pair_ = pair;
    auto table = std::make_shared<Table>(differenceTable(a, b));
    const int rows = static_cast<int>(table->rows.size());
    heading_->setText(rows == 1 ? tr("Runs %1 and %2 differ in one field").arg(a.id).arg(b.id)
                                : tr("Runs %1 and %2 differ in %3 fields").arg(a.id).arg(b.id).arg(rows));
    differences_->setTitle(QString::fromStdString(table->title));
    differences_->setTable(table);
    QTableView* view = differences_->table();
    const int header = view->horizontalHeader()->sizeHint().height();
    differences_->setFixedHeight(header + std::clamp(rows, 1, kMostRows) * view->verticalHeader()->defaultSectionSize() + kGrid / 2);
    // All four columns are seen at once; what is too long is cut and stands in its tooltip.
    view->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    for (int c = 0; c < 3; ++c) {
      view->horizontalHeader()->setSectionResizeMode(c, QHeaderView::Interactive);
      view->setColumnWidth(c, std::min(view->columnWidth(c), std::max(12 * kGrid, width() * (c == 0 ? 20 : 28) / 100)));
    }
    view->horizontalHeader()->setSectionResizeMode(3, QHeaderView::Stretch);
    splitter_->setSizes({1000, 1000});
  }

  EmptyState* empty_;
  QWidget *content_, *compared_;
  QLabel* heading_;
  TableView* differences_;
  QSplitter* splitter_;
  RunPane *left_, *right_;
  QStackedWidget* stack_;
  std::pair<std::string, std::string> pair_;
};

}  // namespace
}  // namespace microtome::desktop

namespace microtome::panels {

void register_results(Registry& registry) {
  using namespace desktop;
  const PanelInfo info{
      QStringLiteral("results"),
      QObject::tr("Results"),
      QObject::tr(
          "The selected run with its findings, tables and pictures; two runs side by side with what differs between them."),
      PanelArea::kCentre,
      90,
      QStringLiteral("Ctrl+R")};
  registry.add({info, [info](Session& session, QWidget* parent) { return new ResultsPanel(session, info, parent); }});
}

}  // namespace microtome::panels
