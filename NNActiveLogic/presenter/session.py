"""The work on patches: one open at a time, answered, kept, and the next one at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from NNActiveLogic.client.answers import Answer, Reason
from NNActiveLogic.client.errors import Leased
from NNActiveLogic.client.outbox import Entry
from NNActiveLogic.client.values import Patch
from NNActiveLogic.presenter import words
from NNActiveLogic.presenter.ahead import Ahead
from NNActiveLogic.presenter.answering import DONE, Said, Work, refuse
from NNActiveLogic.presenter.cache import ArrayCache
from NNActiveLogic.presenter.desk import Desk
from NNActiveLogic.presenter.lanes import ignore
from NNActiveLogic.presenter.leases import Leases
from NNActiveLogic.presenter.loader import Loader, Origin, Start, from_entry
from NNActiveLogic.presenter.screen import Screen, draft
from NNActiveLogic.presenter.sending import Sending
from NNActiveLogic.presenter.session_view import SessionView, State, sentence
from NNActiveLogic.work import HeatSettings, PatchView, WorkError


class Session:
    """The state machine of one clinician in one project.

    No patch is opened twice, no answer is lost once it was given, and only the open patch and those that come
    next are leased.

    Args:
        desk: of the project.
        sending: takes the answers.
        find: the newest that is known of a patch.
    """

    def __init__(self, desk: Desk, sending: Sending, find: Callable[[str], Patch | None]) -> None:
        self.notice = ""
        self._desk, self._sending, self._find = desk, sending, find
        self._cache = ArrayCache(desk.preferences.cache_bytes)
        self.loader = Loader(desk, self._cache)
        self.leases = Leases(desk, self._lost)
        self.screen = Screen(desk, self.loader)
        self.ahead = Ahead(
            desk,
            self.leases,
            self.loader,
            self._cache,
            occupied=self._occupied,
            outdated=self._outdated,
            arrived=self._arrived,
        )
        self._state = State.IDLE
        self._target: Patch | None = None
        self._wish = ""
        self._drafts = desk.drafts
        self._passed: dict[str, None] = {}
        self._before: list[str] = []
        self._answered: dict[str, int] = {}
        self._fetching = ""
        sending.sent.append(self._sent)
        sending.parked.append(lambda entry: self._let_go(entry.patch))

    # What is shown

    @property
    def state(self) -> State:
        """Where the work stands."""
        return self._state

    @property
    def patch(self) -> Patch | None:
        """The open patch, or the one being loaded."""
        return self.screen.patch or self._target

    def view(self) -> SessionView:
        """What is shown."""
        editing = self._state == State.EDITING
        origin = self.screen.start.origin if self.screen.start else None
        return SessionView(
            state=self._state,
            sentence=self._sentence(),
            notice=self.notice,
            patch=self.patch,
            origin=origin,
            stale=self.screen.stale,
            can_answer=editing,
            can_confirm=editing and origin == Origin.PREDICTION,
            can_go_back=bool(self._before),
            seconds=self.screen.activity.seconds,
            drafts=frozenset(self._drafts),
        )

    # Which patch

    def next(self, sure: bool = False) -> Said:
        """Go to the next patch; one that is open is left for later, and its drawing is kept as a draft."""
        if self._state == State.DONE:
            self._passed.clear()
        left = self._put_aside(sure, passed=True)
        if left.ok:
            self.notice = ""
            self._wish = ""
            self.ahead.start()
            self._advance()
        return left

    def jump(self, patch: str, sure: bool = False) -> Said:
        """Open this patch; one with an answer opens with it, to be corrected."""
        if self.patch is not None and self.patch.id == patch and not self._wish:
            return DONE
        left = self._put_aside(sure, passed=False)
        if not left.ok:
            return left
        self.notice = ""
        self._passed.pop(patch, None)
        self.ahead.running = True
        known = self._find(patch)
        fetched = self.ahead.take(patch)
        if fetched is not None:
            self._open(fetched)
        elif known is not None and self._sending.newest(patch, self._desk.preferences.reading) is not None:
            # Nobody else is offered it while our answer is on its way, and this works without a server.
            self._open(known)
        else:
            self._wish = patch
            self._become(State.FETCHING)
            self._lease(patch)
        return DONE

    def previous(self, sure: bool = False) -> Said:
        """Back to the patch before, to look at it again or correct it."""
        if not self._before:
            return refuse(words.NOTHING_BEFORE)
        wanted, left = self._before[-1], self.patch
        went = self.jump(wanted, sure)
        if went.ok:
            # Further back the next time, not back and forth.
            gone = {wanted, left.id if left is not None else ""}
            self._before = [one for one in self._before if one not in gone]
        return went

    def leave(self, sure: bool = False) -> Said:
        """Close the open patch and give everything back; its drawing is kept as a draft."""
        left = self._put_aside(sure, passed=False)
        if left.ok:
            self._wish, self._target = "", None
            self.ahead.stop()
            self.ahead.show(None)
            self._become(State.IDLE)
        return left

    def stop(self) -> None:
        """The project is closed: nothing is shown or leased any more; a drawing becomes a draft."""
        self._keep_draft(self.screen.work())
        self.screen.close()
        self._target = None
        self.ahead.stop()
        self.leases.stop()
        # Images, which would stay until Python looks for objects that hold each other.
        self._cache.drop(lambda _: True)
        self._state = State.IDLE

    def take_back(self, patch: str) -> Said:
        """Make an answered patch open again for everybody; the answer stays in its history."""
        if patch in self._sending.patches:
            return refuse(words.NOT_SENT_YET)
        client = self._desk.client

        def done(found: Patch) -> None:
            self._answered[found.id] = found.revision
            self._say(words.say(words.TAKEN_BACK))
            self.ahead.more()

        self._desk.lanes.submit("front", lambda _: client.reopen(patch), done=done, failed=self._refused)
        return DONE

    # Answers

    def accept(self) -> Said:
        """What is drawn counts."""
        return self._answer(lambda work: work.accepted())

    def confirm(self) -> Said:
        """The prediction is right as it is."""
        return self._answer(lambda work: work.confirmed())

    def empty(self, sure: bool = False) -> Said:
        """Nothing of the classes is in the box."""
        return self._answer(lambda work: work.empty(sure))

    def skip(self, reason: Reason, sure: bool = False) -> Said:
        """No answer is possible."""
        return self._answer(lambda work: work.skipped(reason, sure))

    def refer(self, colleague: str) -> Said:
        """A colleague shall look."""
        return self._answer(lambda work: work.referred(colleague))

    def set_heat(self, settings: HeatSettings) -> None:
        """Draw the heat map in another way; another measure appears when it is loaded."""
        other = settings.measure != self._desk.preferences.heat.measure
        self._desk.preferences.heat = settings
        if other:
            self.ahead.reload()
        self.screen.set_heat(settings, self._refused)

    def set_memory(self, limit: int) -> None:
        """Keep at most so many bytes of voxels; what now fits is loaded ahead."""
        self._cache.limit = limit
        self.ahead.reload()

    # What comes from outside

    def newest_models(self, versions: tuple[str, ...]) -> None:
        """The project's models, oldest first; what is open stays, and says when it is stale."""
        self.loader.models(versions)
        self.screen.check_models()
        self.ahead.reload()

    def new_patches(self) -> None:
        """The project has got more patches; the open one is not disturbed."""
        self.ahead.more()
        if self._state in (State.DONE, State.WAITING):
            self._advance()

    def regained(self) -> None:
        """The connection is back."""
        self.leases.retry()
        self.ahead.resume()
        if self._state == State.WAITING:
            if self._wish:
                self._become(State.FETCHING)
                self._lease(self._wish)
            elif self._target is not None:
                self._open(self._target)
            else:
                self._advance()

    # Within

    def _answer(self, decide: Callable[[Work], Answer | Said]) -> Said:
        patch = self.screen.patch
        if self._state == State.KEEPING:
            return refuse(words.BUSY)
        work = self.screen.work()
        if self._state != State.EDITING or patch is None or work is None:
            return refuse(words.NOTHING_OPEN)
        decided = decide(work) if isinstance(work, Work) else work
        if isinstance(decided, Said):
            return decided
        self.notice = ""
        self._become(State.KEEPING)
        reading = self._desk.preferences.reading
        self._sending.put(patch, decided, reading, done=lambda: self._kept(patch), failed=self._not_kept)
        return DONE

    def _kept(self, patch: Patch) -> None:
        self._drafts.pop(patch.id, None)
        if self.screen.patch is not patch:
            return
        self._answered[patch.id] = max(patch.revision, self._answered.get(patch.id, 0)) + 1
        self._close()
        self._advance()

    def _not_kept(self, problem: Exception) -> None:
        if self._state == State.KEEPING:
            self.notice = words.say(words.NOT_KEPT, what=problem)
            self._become(State.EDITING)

    def _close(self) -> None:
        """Nothing is open any more."""
        patch = self.screen.patch
        if patch is not None:
            self._before = [*(one for one in self._before if one != patch.id), patch.id]
        self.screen.close()

    def _put_aside(self, sure: bool, passed: bool) -> Said:
        """Leave what is open or on its way; a drawing becomes a draft."""
        if self._state == State.KEEPING:
            return refuse(words.BUSY)
        left, work = self.patch, self.screen.work()
        if isinstance(work, Said) and not sure:
            return replace(work, ask=True)
        self._keep_draft(work)
        self._close()
        self._target = None
        self._wish = ""
        if left is not None:
            if passed:
                self._passed[left.id] = None
            self._let_go(left.id)
        return DONE

    def _keep_draft(self, work: Work | Said | None) -> None:
        """Something drawn in the open patch is there again when the patch is opened the next time."""
        patch = self.screen.patch
        if patch is not None and isinstance(work, Work) and work.touched:
            self._drafts[patch.id] = draft(work)

    def _let_go(self, patch: str) -> None:
        """Give a lease back, unless the patch is needed."""
        needed = {one.id for one in (self.patch, *self.ahead.patches) if one is not None}
        if patch in self.leases.held and patch not in needed | {self._wish}:
            self.leases.release(patch)

    def _lease(self, patch: str) -> None:
        def done(found: Patch) -> None:
            if self._wish == found.id:
                self._wish = ""
                self._open(found)
            elif self.patch is None or self.patch.id != found.id:
                self._let_go(found.id)

        def failed(problem: Exception) -> None:
            if self._wish != patch:
                return
            if self._desk.connection.failed(problem):
                self._become(State.WAITING)
            else:
                self._wish = ""
                self.notice = _somebody(problem) if isinstance(problem, Leased) else str(problem)
                self._become(State.IDLE)

        self.leases.take(patch, done, failed)

    def _advance(self) -> None:
        """Nothing is open: take what comes next."""
        self.ahead.show(None)
        patch = self.ahead.take()
        if patch is not None:
            self._open(patch)
            return
        self.ahead.fill()
        if self.ahead.problem:
            self.notice = "" if not self._desk.connection.online else self.ahead.problem
            self._become(State.WAITING)
        else:
            self._become(State.DONE if self.ahead.exhausted else State.FETCHING)

    def _open(self, patch: Patch) -> None:
        """Show a patch, at once when it is loaded."""
        self._target = patch
        self.ahead.show(patch)
        start = self._beginning(patch)
        view = self.loader.view(patch, start)
        if view is not None:
            self._show(view, start or self.loader.start(patch))
            return
        self._become(State.LOADING)
        if not self.ahead.loading(patch) and not self._fetching:
            self._load(patch)

    def _beginning(self, patch: Patch) -> Start | None:
        """A draft, or an answer that is not sent; otherwise what the server has."""
        unsent = self._sending.newest(patch.id, self._desk.preferences.reading)
        return self._drafts.get(patch.id) or (from_entry(unsent, patch.box) if unsent else None)

    def _load(self, patch: Patch) -> None:
        self._fetching = patch.id

        def done(_: object) -> None:
            self._fetching = ""
            if self._target is not None and self._state == State.LOADING:
                self._open(self._target)

        def failed(problem: Exception) -> None:
            self._fetching = ""
            if self._target is not patch:
                self._arrived()
                return
            if self._desk.connection.failed(problem):
                self._become(State.WAITING)
            else:
                self._give_up(patch, problem)

        self._desk.lanes.submit("load", lambda _: self.loader.load(patch), done=done, failed=failed)

    def _show(self, view: PatchView, start: Start) -> None:
        try:
            self.screen.open(view, start)
        except WorkError as problem:
            self._give_up(view.patch, problem)
            return
        self._target = None
        self._become(State.EDITING)
        self.ahead.fill()

    def _give_up(self, patch: Patch, problem: Exception) -> None:
        """It cannot be shown; the next one is only a key away, and this one does not come at once again."""
        self._target = None
        self._passed[patch.id] = None
        self._let_go(patch.id)
        self.notice = words.say(words.NOT_LOADED, what=problem)
        self._become(State.IDLE)

    def _arrived(self) -> None:
        """The queue has changed."""
        if self._state in (State.FETCHING, State.DONE, State.WAITING) and not self._wish and not self._target:
            self._advance()
        elif self._state == State.LOADING and self._target is not None:
            self._open(self._target)
        self._desk.changed()

    def _occupied(self) -> list[str]:
        """What must not come from the queue."""
        now = [self.patch.id if self.patch else "", self._wish]
        return [one for one in [*now, *sorted(self._sending.patches), *self._passed] if one]

    def _outdated(self, patch: Patch) -> bool:
        return patch.revision < self._answered.get(patch.id, 0)

    def _sent(self, entry: Entry, patch: Patch) -> None:
        """The server took an answer, and with that ended the lease."""
        self._answered[patch.id] = max(entry.revision + 1, self._answered.get(patch.id, 0))
        if self.patch is not None and self.patch.id == patch.id:
            self.leases.take(patch.id, ignore, self._desk.connection.note)
        else:
            self.leases.drop(patch.id)

    def _lost(self, patches: frozenset[str]) -> None:
        """Leases are gone, such as after a night: those that come next are fetched anew, the open one too."""
        self.ahead.drop(patches)
        self.ahead.fill()
        if self.patch is None or self.patch.id not in patches:
            return

        def failed(problem: Exception) -> None:
            if isinstance(problem, Leased):
                self._say(words.say(words.LEASE_LOST, who=_somebody(problem)))
            else:
                self._desk.connection.failed(problem)

        self.leases.take(self.patch.id, ignore, failed)

    def _refused(self, problem: Exception) -> None:
        if not self._desk.connection.failed(problem):
            self._say(str(problem))

    def _say(self, notice: str) -> None:
        self.notice = notice
        self._desk.changed()

    def _become(self, state: State) -> None:
        self._state = state
        self._desk.changed()

    def _sentence(self) -> str:
        if self.screen.stale and self._state == State.EDITING:
            return words.say(words.STALE)
        case = self.loader.case_name(self._target.case) if self._target else ""
        return sentence(self._state, case, len(self._passed))


def _somebody(problem: Leased) -> str:
    if problem.holder:
        return words.say(words.SOMEBODY_ELSE, holder=problem.holder)
    return words.say(words.SOMEBODY_ELSE_UNNAMED)
