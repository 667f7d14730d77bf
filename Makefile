# What to do with a checkout.  `make` alone lists it.
#
# Everything of Python's goes into .venv beside this file.  pip is called only if the
# lock files are not those it was last called with; a copy of each lies in .venv.
# Paths here are relative, since make would split one with spaces.

PYTHON ?= python3
# The crontab names .venv: another Python than the one it was made with has its own.
ifeq ($(origin VENV),undefined)
VENV := $(if $(filter file,$(origin PYTHON)),.venv,$(shell \
    is() { "$$1" -c 'import sys; print(sys.base_prefix, *sys.version_info)' 2>&1; }; \
    if [ -x .venv/bin/python ] && [ "$$(is .venv/bin/python)" != "$$(is '$(PYTHON)')" ]; then \
        '$(PYTHON)' -c 'import sys; print("build/venv-%d.%d.%d" % sys.version_info[:3])' \
            2>/dev/null || echo build/venv; \
    else echo .venv; fi))
endif
IN_VENV := $(VENV)/bin/python
# Tests of faults wait for each other's disks more than they compute.
TESTERS ?= 3
SOURCES := $(wildcard checker.py) lib jobs tests
# Without bytecode each worker, and each start of the program, would compile all modules.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(IN_VENV) -m pytest -q -n 2 --dist worksteal

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test approve faults soak lint format coverage bench bench-against man docs compile lock clean venv venv-dev venv-integration

help:
	@echo 'make run       run the minute jobs once, without mail, and show the table'
	@echo 'make test      the tests; they need nothing but Python'
	@echo 'make integration   those that need more, such as mail servers or strace, or take long'
	@echo 'make approve   write the approved texts anew, from what the program says now'
	@echo 'make faults    the tests of faults in full, some hours, and their table'
	@echo 'make soak      a week of simulated minutes in some real ones: nothing missed?'
	@echo 'make stories   the stories of tests/e2e, told by the program of another commit, REV=...'
	@echo 'make lint      black, isort, flake8 and mypy: look only'
	@echo 'make format    black and isort: change the files'
	@echo 'make coverage  the tests again, and the lines none of them visits'
	@echo 'make bench     how long a run takes on this machine'
	@echo 'make bench-against   what it costs here, beside other commits, REV="0bca2c4 HEAD"'
	@echo 'make man       write contrib/checker.1 anew from the tables of --help'
	@echo 'make docs      write docs/settings.md and kinds.md anew from the tables'
	@echo 'make compile   bytecode of lib and jobs, so that no run has to make it'
	@echo 'make lock      write the lock files anew from the ranges in setup.cfg'
	@echo 'make clean     remove caches; .venv, settings.cfg and state/ stay'
	@echo
	@echo 'PYTHON=... names the Python to use: .venv is made with it, or where that is of another'
	@echo 'one, build/venv-VERSION.  ARGS=... goes to pytest or soak.'

run: venv compile settings.cfg
	@$(IN_VENV) checker.py -m cron -c minute --nomail
	@$(IN_VENV) checker.py -m list

# pip does it for the libraries.  A file that does not compile is a failing job's matter.
compile: venv
	@$(IN_VENV) -m compileall -qq lib jobs || :

# Passwords will be in it.
settings.cfg:
	@umask 077 && cp settings.cfg.example settings.cfg
	@echo 'settings.cfg is new, a copy of settings.cfg.example: say there what to check.'

# Four at once, since they wait for sockets and disks as long as they compute.
test: venv-dev compile
	@$(PYTEST) -n 4 -m 'not integration and not long' $(ARGS)

integration: venv-integration compile
	@$(PYTEST) -m 'integration or long' $(ARGS)

# Only the tests that have such a text are run.  Look at git diff afterwards.
approve: venv-dev
	@CHECKER_APPROVE=1 $(PYTEST) $(ARGS)

# The table goes to build/faults.md as well; docs/faults.md and testing.md quote it.  The rows
# without the harnesses, in half an hour: ARGS='-k "not harness and not test_model or a_record"'
faults: venv-dev
	@mkdir -p build
	@CHECKER_FAULTS=long CHECKER_FAULTS_TABLE=build/faults.md \
	    $(IN_VENV) -m pytest -q -n $(TESTERS) --dist load --maxschedchunk 1 -m 'fault or long or hypothesis' $(ARGS)

# The same week again: ARGS='--seed N'.
soak: venv-dev
	@$(IN_VENV) -m tests.faults.soak $(ARGS)

# What that commit did wrong and says so in its row is expected to be wrong.
stories: venv-dev
	@[ -n '$(REV)' ] || { echo 'make: say which commit: make stories REV=0bca2c4' >&2; exit 1; }
	@$(call clone,build/stories-$(REV),$(REV))
	@CHECKER_ROOT='build/stories-$(REV)' \
	    $(IN_VENV) -m pytest -q -n 2 tests/e2e/test_stories.py $(ARGS)

lint: venv-dev
	@status=0; \
	$(IN_VENV) -m black --quiet --check --diff $(SOURCES) || { echo 'black: see make format'; status=1; }; \
	$(IN_VENV) -m isort --quiet --check-only $(SOURCES) || { echo 'isort: see make format'; status=1; }; \
	$(IN_VENV) -m flake8 $(SOURCES) || { echo 'flake8: see above'; status=1; }; \
	$(IN_VENV) -m mypy --no-error-summary || { echo 'mypy: see above'; status=1; }; \
	[ "$$status" -ne 0 ] || echo 'black, isort, flake8 and mypy have nothing to say.'; \
	exit "$$status"

format: venv-dev
	@$(IN_VENV) -m isort --quiet $(SOURCES)
	@$(IN_VENV) -m black --quiet $(SOURCES)

coverage: venv-dev
	@$(IN_VENV) -m coverage erase
	@$(IN_VENV) -m coverage run -m pytest -q $(ARGS)
	@$(IN_VENV) -m coverage combine --quiet
	@$(IN_VENV) -m coverage report

bench: venv-dev
	@$(IN_VENV) -m tests.bench

# Some rows, or another number of turns: ARGS='--rows idle,http --times 3'.
bench-against: venv-dev
	@[ -n '$(REV)' ] || { echo 'make: say which commits: make bench-against REV=0bca2c4' >&2; exit 1; }
	@$(MAKE) venv VENV=build/venv-bench PYTHON="$$($(base_python))"
	@$(foreach commit,$(REV),$(call clone,build/against-$(commit),$(commit)) &&) \
	    $(IN_VENV) -m tests.bench_against $(foreach commit,$(REV),'build/against-$(commit)') $(ARGS)

man: venv
	@$(IN_VENV) -m lib.cli.manpage >contrib/checker.1

docs: venv
	@$(IN_VENV) -m lib.cli.settings_page

# .venv stays: the crontab names the Python in it.
clean:
	@rm -rf build .coverage .coverage.* .pytest_cache .mypy_cache .hypothesis
	@find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

# Each prints one line if it cannot go on.

venv:
	@$(call install,requirements.txt,cat requirements.txt)

venv-dev:
	@$(call install,requirements-dev.txt,cat requirements.txt requirements-dev.txt)

# The lock file has all that is needed; by its name axe-playwright-python wants more.
venv-integration: venv-dev
	@$(call install,requirements-integration.txt,cat requirements-integration.txt,--no-deps)

# $(1): the lock file; $(2): prints all that it stands for; $(3): more options of pip.
define install
	stamp='$(VENV)/$(1)'; \
	if ! "$(IN_VENV)" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    $(choose_python); \
	    echo "Making $(VENV) with $$python ..."; \
	    "$$python" -m venv --clear '$(VENV)' || exit 1; \
	fi; \
	if $(2) | cmp -s - "$$stamp"; then exit 0; fi; \
	echo 'Installing what $(1) lists ...'; \
	get() { '$(IN_VENV)' -m pip --disable-pip-version-check --no-input install \
	    --only-binary pycurl $(3) -r "$$1" >'$(VENV)/pip.log' 2>&1; }; \
	if ! get '$(1)'; then \
	    failed=yes; \
	    if grep -q '^ERROR.*pycurl' '$(VENV)/pip.log'; then \
	        $(2) | grep -v -e '^-r ' -e '^pycurl==' >'$(VENV)/without-pycurl.txt'; \
	        if get '$(VENV)/without-pycurl.txt'; then \
	            failed=; \
	            echo 'make: there is no pycurl for this machine: [http NAME] will be unknown. As root:' \
	                'apt-get install gcc libcurl4-openssl-dev libssl-dev python3-dev; then:' \
	                '$(IN_VENV) -m pip install pycurl' >&2; \
	        fi; \
	    fi; \
	    if [ -n "$$failed" ]; then \
	        grep '^ERROR' '$(VENV)/pip.log' | cut -c 1-300 >&2; \
	        echo 'make: pip could not install $(1); is the network up?  $(VENV)/pip.log has all it said' >&2; \
	        exit 1; \
	    fi; \
	fi; \
	$(2) >"$$stamp"
endef

# $(1): the folder; $(2): the commit.  It gets what it requires itself, with our Python.
define clone
	rm -rf '$(1)' && \
	git clone --quiet --no-checkout . '$(1)' && \
	git -C '$(1)' checkout --quiet --detach '$(2)' && \
	$(MAKE) -C '$(1)' venv VENV=.venv PYTHON="$$($(base_python))"
endef

base_python = $(IN_VENV) -c 'import sys; print(sys._base_executable)'

# Leaves in $python a Python of 3.11 or newer that can make a venv.
define choose_python
	python=; \
	for candidate in '$(PYTHON)' $(OTHER_PYTHONS); do \
	    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	    then python="$$candidate"; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "make: Checker needs Python 3.11 or newer; $(PYTHON)" \
	        "$$(is=$$('$(PYTHON)' --version 2>&1) && echo "is $$is" || echo 'does not start'):" \
	        'try make PYTHON=/path/to/python3, or as root: apt-get install python3-venv' >&2; \
	    exit 1; \
	fi; \
	if ! "$$python" -c 'import venv; from ensurepip import version' 2>/dev/null; then \
	    package=$$("$$python" -c '$(name_package)'); \
	    echo "make: $$python lacks venv; as root: apt-get install $$package" >&2; \
	    exit 1; \
	fi
endef

# A Python that was asked for by name is not replaced by another.
OTHER_PYTHONS := $(if $(filter file,$(origin PYTHON)),python3.14 python3.13 python3.12 python3.11)

# The system's own Python has its venv in python3-venv, others in one of their own.
name_package := import os, sys; \
    here = os.path.realpath(sys.executable); \
    own = here == os.path.realpath("/usr/bin/python3"); \
    print("python3-venv" if own else "python%d.%d-venv" % sys.version_info[:2])

# The oldest Python we run on decides: what installs there installs on the newer ones.
lock:
	@mkdir -p build
	@for part in '' dev integration; do \
	    rm -rf build/lock; \
	    $(or $(shell command -v python3.11),python3) -m venv build/lock || exit 1; \
	    out="requirements$${part:+-$$part}.txt"; \
	    case "$$part" in \
	        '') set -- ;; \
	        dev) set -- requirements.txt ;; \
	        *) set -- requirements.txt requirements-dev.txt ;; \
	    esac; \
	    cat /dev/null "$$@" | grep -v '^-r ' >build/locked.txt; \
	    build/lock/bin/python -c '$(print_ranges)' "$$part" >build/ranges.txt || exit 1; \
	    build/lock/bin/python -m pip --disable-pip-version-check --quiet install \
	        -r build/ranges.txt -r build/locked.txt || exit 1; \
	    { \
	        echo '# Exact versions, written by `make lock` from the ranges in setup.cfg: change'; \
	        echo '# those, not these.'; \
	        if [ "$$part" = dev ]; then echo '-r requirements.txt'; fi; \
	        build/lock/bin/python -m pip freeze | grep -vxFf build/locked.txt \
	            | grep -v $(NOT_LOCKED:%=-e '^%=='); \
	    } >"build/$$out" && mv "build/$$out" "$$out" || exit 1; \
	done
	@rm -rf build/lock build/ranges.txt build/locked.txt

# What axe-playwright-python wants, 130 MB of another browser's driver, is not used.
NOT_LOCKED := playwright greenlet pyee

print_ranges := import configparser, sys; \
    setup = configparser.ConfigParser(); \
    setup.read("setup.cfg"); \
    print(setup["options.extras_require" if sys.argv[1] else "options"][sys.argv[1] or "install_requires"])
