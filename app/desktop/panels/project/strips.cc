#include "app/desktop/panels/project/strips.h"

#include <QEvent>
#include <QKeyEvent>
#include <QLabel>
#include <QLineEdit>
#include <QPushButton>
#include <QVBoxLayout>

#include "app/desktop/theme/theme.h"

namespace microtome::desktop {

ProjectStrips::ProjectStrips(QWidget* parent) : QWidget(parent) {
  auto* column = new QVBoxLayout(this);
  column->setContentsMargins(0, 0, 0, 0);
  column->setSpacing(kGrid);

  compare_ = new QPushButton(this);
  compare_->setObjectName(QStringLiteral("compare"));
  compare_->setProperty("primary", true);
  compare_->hide();
  column->addWidget(compare_);
  connect(compare_, &QPushButton::clicked, this, [this] { Q_EMIT compareWanted(a_, b_); });

  note_ = new QWidget(this);
  auto* noteColumn = new QVBoxLayout(note_);
  noteColumn->setContentsMargins(0, 0, 0, 0);
  noteColumn->setSpacing(kGrid / 2);
  noteLabel_ = new QLabel(note_);
  noteLabel_->setProperty("role", QStringLiteral("muted"));
  noteLabel_->setWordWrap(true);
  noteField_ = new QLineEdit(note_);
  noteField_->setObjectName(QStringLiteral("note"));
  noteField_->setPlaceholderText(tr("What this run shows"));
  noteField_->setMaxLength(4000);
  noteField_->installEventFilter(this);
  noteLabel_->setBuddy(noteField_);
  noteColumn->addWidget(noteLabel_);
  noteColumn->addWidget(noteField_);
  note_->hide();
  column->addWidget(note_);
  connect(noteField_, &QLineEdit::returnPressed, this, [this] {
    note_->hide();
    Q_EMIT noteGiven(run_, noteField_->text().trimmed());
    Q_EMIT closed();
  });

  trash_ = new QWidget(this);
  auto* trashColumn = new QVBoxLayout(trash_);
  trashColumn->setContentsMargins(0, 0, 0, 0);
  trashColumn->setSpacing(kGrid / 2);
  trashLabel_ = new QLabel(trash_);
  trashLabel_->setWordWrap(true);
  trashColumn->addWidget(trashLabel_);
  auto* buttons = new QHBoxLayout;
  keep_ = new QPushButton(tr("Keep"), trash_);
  auto* go = new QPushButton(tr("Remove for good"), trash_);
  go->setObjectName(QStringLiteral("empty_trash"));
  buttons->addStretch(1);
  buttons->addWidget(go);
  buttons->addWidget(keep_);
  trashColumn->addLayout(buttons);
  trash_->hide();
  column->addWidget(trash_);
  const auto close = [this] {
    trash_->hide();
    Q_EMIT closed();
  };
  connect(keep_, &QPushButton::clicked, this, close);
  connect(go, &QPushButton::clicked, this, [this, close] {
    Q_EMIT trashConfirmed();
    close();
  });
}

void ProjectStrips::editNote(qint64 run, const QString& note) {
  run_ = run;
  noteLabel_->setText(tr("Note on run %1 (Enter keeps it, Esc leaves it)").arg(run));
  // A note of several lines is edited in the inspector; here its lines become one.
  noteField_->setText(QString(note).replace(QLatin1Char('\n'), QLatin1Char(' ')));
  note_->show();
  noteField_->setFocus();
  noteField_->selectAll();
}

void ProjectStrips::askEmptyTrash(int runs) {
  trashLabel_->setText(runs == 1 ? tr("Remove the run in the trash with its results? This can't be undone.")
                                 : tr("Remove %1 runs with their results? This can't be undone.").arg(runs));
  trash_->show();
  keep_->setFocus();
}

void ProjectStrips::offerCompare(qint64 a, qint64 b) {
  a_ = a;
  b_ = b;
  compare_->setText(tr("Compare runs %1 and %2").arg(a).arg(b));
  compare_->setVisible(a != 0 && b != 0);
}

bool ProjectStrips::eventFilter(QObject* object, QEvent* event) {
  if (object == noteField_ && event->type() == QEvent::KeyPress && static_cast<QKeyEvent*>(event)->key() == Qt::Key_Escape) {
    note_->hide();
    Q_EMIT closed();
    return true;
  }
  return QWidget::eventFilter(object, event);
}

}  // namespace microtome::desktop
