# One file, no recursion, no guessing beyond pkg-config and "is nvcc there".
# Where nvcc is, all builds the backend for NVIDIA GPUs as well; without it nothing changes.
#   make            builds everything under build/; installs nothing
#   make demo       sets a fresh machine up, starts a whole seedpress, renders 16 pictures
#   make demo-stop  ends what demo started, and nothing else
#   make test       sets a fresh machine up, runs every test that needs no GPU
#   make gpu-check  checks the kernels on this machine's GPU; needs the CUDA toolkit and a C compiler
#   make bench      prints figures of the broker, the whole path and the engine as ratios
#   make install DESTDIR= PREFIX=/usr/local
B       ?= build
PREFIX  ?= /usr/local
CFLAGS  ?= -O2 -g
VERSION := $(shell sed -n 's/^\#\# \([0-9][0-9.]*\).*/\1/p' CHANGELOG.md | head -n 1)

# msgpack-c's C part has another name in later releases.
MSGPACK  = $(shell pkg-config --exists msgpack 2>/dev/null && echo msgpack || echo msgpack-c)
PKGS     = libzmq $(MSGPACK) libpq libcrypto libjpeg libpng libwebp libcjson inih libmicrohttpd \
           libarchive libcbor
ALLC    := -std=c11 -Wall -Wextra -Wshadow -Wvla -Wformat=2 -Wmissing-prototypes \
           -ffp-contract=off -fPIC -pthread -D_GNU_SOURCE -DSEEDPRESS_VERSION='"$(VERSION)"' -I.
LIB      = $(shell pkg-config --libs $1)
# Asked once a compile, not once a make: `make demo` installs what pkg-config needs on the way.
INC      = $(shell pkg-config --cflags $(PKGS) 2>/dev/null)

obj     = $(patsubst %,$B/%.o,$(basename $(wildcard $1)))
PROTO   := $(call obj,proto/*.c)
# Only the daemons listen for HTTP: whoever links libseedpress needs no libmicrohttpd.
HTTP    := $B/base/http.o
# Only who signs pictures or checks them needs libcbor.
MARKING := $(patsubst %,$B/base/%.o,c2pa c2pa_check certificate concise cose credential jumbf)
BASE    := $(PROTO) $(filter-out $(HTTP) $(MARKING),$(call obj,base/*.c))
KERN    := $(call obj,kernels/*.c)
SQL     := $(call obj,sql/*.c) $B/sql/migrations.o
LIBSP   := $(call obj,client/seedpress.c client/bulk.c client/handle.c client/wish.c \
                      client/exchange.c client/answer.c)
GATEWAY := $(call obj,client/gateway/*.c) $B/client/gateway/openapi.o
# What the gateway shares with the command: files are judged by the same code.
PROOF   := $(patsubst %,$B/client/%.o,again compare image origin origin_report verdict) $(MARKING) \
           $(patsubst %,$B/kernels/%.o,jpeg_pixels levels)
PROGS   := $B/seedpress $B/seedpress-broker $B/seedpress-worker $B/seedpress-gateway
PARTS   := $(filter-out %/main.o,$(call obj,broker/*.c worker/*.c client/*.c) $(GATEWAY)) \
           $(KERN) $(SQL) $(BASE) \
           $(HTTP) $(MARKING)
TESTS   := $(patsubst %.c,$B/%,$(wildcard tests/test_*.c tests/flow_*.c))
FUZZERS := $(patsubst %.c,$B/%,$(wildcard tests/fuzz_*.c))
KIT     := $(patsubst %.c,$B/%.o,$(wildcard tests/kit_*.c))
BENCHES := $(patsubst %.c,$B/%,$(wildcard tests/bench/*.c))

# The backend for NVIDIA GPUs: machine code for these, and PTX from which a driver makes code for
# later ones. NVCC= leaves it out.
ifeq ($(origin NVCC),undefined)
NVCC    := $(shell command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
endif
comma   := ,
CUDA_TARGETS ?= -gencode arch=compute_80,code=[sm_80,compute_80] \
           -gencode arch=compute_86,code=sm_86 -gencode arch=compute_89,code=sm_89 \
           -gencode arch=compute_90a,code=sm_90a
ALLCU   := -std=c++17 -I.
NVCCALL := $(ALLCU) -O3 -fmad=false --threads 0 -Xptxas -v \
           -Xcompiler -Wall,-ffp-contract=off,-fPIC,-pthread
CU      := $(wildcard kernels/cuda/*.cu)
CUDA_SO := $(if $(NVCC),$(if $(CU),$B/libseedpress-cuda.so))

all: $(PROGS) $B/libseedpress.so $B/libseedpress.a $(CUDA_SO)

$B/seedpress-broker: $(call obj,broker/*.c) $(SQL) $(BASE) $(HTTP)
$B/seedpress-worker: $(call obj,worker/*.c) $(KERN) $(SQL) $(BASE) $(HTTP) $(MARKING)
$B/seedpress: $(call obj,client/*.c) $(KERN) $(SQL) $(BASE) $(MARKING)
$B/seedpress-gateway: $(GATEWAY) $(PROOF) $(LIBSP) $(BASE)
$B/seedpress-gateway: LIBS = $(call LIB,libzmq $(MSGPACK) libcrypto inih libmicrohttpd libcjson \
                              libjpeg libpng libwebp libcbor) -lm
$B/seedpress-broker: LIBS = $(call LIB,libzmq $(MSGPACK) libpq libcrypto inih libmicrohttpd) -lm
$B/seedpress-worker: LIBS = $(call LIB,libzmq $(MSGPACK) libpq libcrypto inih libjpeg libcjson \
                             libmicrohttpd libcbor) -lm -ldl
$B/seedpress: LIBS = $(call LIB,libzmq $(MSGPACK) libpq libcrypto inih libjpeg libpng libwebp \
                      libcjson libarchive libcbor) -lm -ldl
$(TESTS): LIBS = $(call LIB,$(PKGS) cmocka) -lm -ldl
$(FUZZERS) $(BENCHES): LIBS = $(call LIB,$(PKGS)) -lm -ldl
$(TESTS): $B/%: $B/%.o $(KIT) $(PARTS)
$B/tests/test_bare: $(call obj,tests/gpu/bare/*.c)
$B/tests/test_check: $B/tests/gpu/check.o
$(BENCHES): $B/%: $B/%.o $B/tests/kit_stack.o $B/tests/kit_postgres.o $(PARTS)
$B/tests/bench/ledger $B/tests/bench/gateway: $B/tests/kit_arch.o $B/tests/kit_model.o | $B/libseedpress-quick.so
$B/tests/bench/engine: LIBS += -lopenblas
$B/tests/bench/engine: $B/tests/kit_arch.o $B/tests/kit_networks.o
$B/tests/bench/conv_peers: LIBS += -lopenblas -ldnnl -fopenmp
$B/tests/bench/conv_peers.o: override CFLAGS += -fopenmp
# Without libFuzzer a target is a program that replays the files it is given.
$(FUZZERS): $B/%: $B/%.o $B/tests/replay.o $(PARTS)
$(PROGS) $(TESTS) $(FUZZERS) $(BENCHES):
	$(CC) $(LDFLAGS) -rdynamic -pthread -o $@ $^ $(LIBS)

# Backends for tests, opened at run time as a GPU's is. What they use is in the program.
TEST_SO := $B/libseedpress-coefficients.so $B/libseedpress-quick.so
$(TEST_SO): $B/libseedpress-%.so: tests/backend_%.c
	@mkdir -p $(@D) $B/tests
	$(CC) $(ALLC) $(CFLAGS) $(LDFLAGS) -MMD -MP -MF $B/tests/backend_$*.d -shared -o $@ $<
$B/tests/flow_coefficients $B/tests/flow_bulk_faults: | $(TEST_SO)

# What nvcc says of registers and spills stays beside the object, for tests/cuda_build.sh.
define nvcc
	@mkdir -p $(@D)
	$(NVCC) $(NVCCALL) $1 -MMD -MP -MF $(@:.o=.d) -c -o $@ $< >$(@:.o=.ptxas) 2>&1 || \
	    { cat $(@:.o=.ptxas); rm -f $@; exit 1; }
	@grep -i warning $(@:.o=.ptxas) || true
endef
$B/cuda/%.o: %.cu
	$(call nvcc,$(CUDA_TARGETS))
# The checks' own kernels are compiled for the chip they run on; here one shows that they can be.
$B/cuda/tests/gpu/%.o: tests/gpu/%.cu
	$(call nvcc,-gencode arch=compute_90a$(comma)code=sm_90a)

# Only its table leaves it. What it needs of the engine, the program that opens it has.
$B/libseedpress-cuda.so: $(CU:%.cu=$B/cuda/%.o) kernels/cuda/backend.map
	$(NVCC) -shared -cudart static -Xlinker --version-script=kernels/cuda/backend.map -o $@ \
	    $(filter %.o,$^)

# ---- The checks of the kernels: one program for the device that is there, one for the emulator ----
# Neither needs a library: digests and JSON are those of tests/gpu/bare.
BARE    := $(patsubst %,$B/bare/%.o,proto/digest kernels/safetensors tests/kit_golden)
CHECK   := $(BARE) $(call obj,tests/gpu/bare/*.c tests/kit_arch.c tests/kit_networks.c \
                base/npy.c base/file.c base/clock.c proto/err.c proto/number.c proto/recipe.c) \
           $(filter-out %/jpeg.o %/jpeg_pixels.o %/picture.o %/safetensors.o %/thumbnail.o,$(KERN)) \
           $(filter-out $B/tests/gpu/check.o,$(call obj,tests/gpu/*.c))
# tests/gpu/run.sh asks for those of the GPU that is there.
GPU_TARGETS ?= $(CUDA_TARGETS)
CHECKCU := $(CU) $(wildcard tests/gpu/*.cu)
EMULATE := $(ALLCU) -O2 -g -march=native -Wall -Wextra -Wno-unknown-pragmas \
            -Wno-missing-field-initializers -ffp-contract=off -fPIC -pthread \
           -D_GNU_SOURCE -Itests/cuda_emulator

$B/bare/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALLC) -Itests/gpu/bare $(CFLAGS) -MMD -MP -c -o $@ $<

$B/gpu/check: $(CHECKCU:%.cu=$B/gpu/%.o)
$B/cuda/check: $(CHECKCU:%.cu=$B/cuda/%.o)      # of all targets: that it links
$B/gpu/check $B/cuda/check: $(CHECK) $B/tests/gpu/check.o
	$(NVCC) -cudart static -Xcompiler -pthread -o $@ $^ -lm -ldl
$B/gpu/%.o: %.cu
	$(call nvcc,$(GPU_TARGETS) -lineinfo)

# Device only: what there is to measure is a device.
EMULATED := $(patsubst %,$B/emulated/%.o,$(basename $(filter-out %/bench.cu,$(CHECKCU)) \
                $(wildcard tests/cuda_emulator/*.cc)))
$B/emulated/check: $(CHECK) $B/emulated/tests/gpu/check.o $(EMULATED)
	$(CXX) $(LDFLAGS) -pthread -o $@ $^ -lm -ldl
# With these checks of every access a sanitizer's compile of the unrolled loops takes many minutes;
# addresses are the address sanitizer's anyway.
$B/emulated/kernels/cuda/conv%.o: override CFLAGS += -fno-sanitize=null,alignment,object-size
# The emulator held to its own promises: it finds what is planted.
$B/emulated/check_emulator: $(patsubst %,$B/emulated/tests/cuda_emulator/%.o,\
                                check_emulator block emulated_hopper runtime)
	$(CXX) $(LDFLAGS) -pthread -o $@ $^
$B/emulated/%.o: %.cu
	@mkdir -p $(@D)
	$(CXX) $(EMULATE) $(CFLAGS) -MMD -MP -x c++ -c -o $@ $<
$B/emulated/%.o: %.cc
	@mkdir -p $(@D)
	$(CXX) $(EMULATE) $(CFLAGS) -MMD -MP -c -o $@ $<
$B/emulated/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALLC) -DCHECK_EMULATED $(CFLAGS) -MMD -MP -c -o $@ $<

# Programs that open the emulated backend as they open a device's: it lies beside them.
EMULATED_BIN := $(patsubst $B/%,$B/emulated/bin/%,$(PROGS)) $B/emulated/bin/libseedpress-cuda.so
$B/emulated/bin/libseedpress-cuda.so: $(CU:%.cu=$B/emulated/%.o) kernels/cuda/backend.map \
        $(patsubst %.cc,$B/emulated/%.o,$(wildcard tests/cuda_emulator/*.cc))
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) -shared -pthread -Wl,--version-script=kernels/cuda/backend.map -o $@ \
	    $(filter %.o,$^) -ldl
$B/emulated/bin/seedpress%: $B/seedpress%
	@mkdir -p $(@D)
	ln -f $< $@
$B/emulated/bin/seedpress: $B/seedpress
	@mkdir -p $(@D)
	ln -f $< $@
$B/tests/flow_cuda: | $(EMULATED_BIN)

# Only the names of seedpress.h leave the shared library.
$B/libseedpress.so: $(LIBSP) $(BASE) client/seedpress.map
	$(CC) $(LDFLAGS) -shared -pthread -Wl,-soname,libseedpress.so.1 \
	    -Wl,--version-script=client/seedpress.map -o $@ $(LIBSP) $(BASE) \
	    $(call LIB,libzmq $(MSGPACK) libcrypto inih) -lm
$B/libseedpress.a: $(LIBSP) $(BASE)
	$(AR) rcs $@ $^

# The migrations travel inside the programs: one array entry a file, in number order.
$B/sql/migrations.c: sql/embed.sh $(wildcard sql/migrations/*.sql)
	@mkdir -p $(@D)
	sh sql/embed.sh sql/migrations > $@
$B/sql/migrations.o: $B/sql/migrations.c
	$(CC) $(ALLC) $(CFLAGS) -c -o $@ $<

# So does what the gateway says of its routes.
$B/client/gateway/openapi.c: client/gateway/embed.sh client/gateway/openapi.json
	@mkdir -p $(@D)
	sh client/gateway/embed.sh OPENAPI client/gateway/openapi.json > $@
$B/client/gateway/openapi.o: $B/client/gateway/openapi.c
	$(CC) $(ALLC) $(CFLAGS) -c -o $@ $<

$B/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALLC) $(INC) $(CFLAGS) -MMD -MP -c -o $@ $<

# The CPU engine gains from vectors over independent outputs; without contraction they change no bit.
$B/kernels/%.o: override CFLAGS += -O3
$B/base/likeness.o $B/base/likeness_index.o: override CFLAGS += -O3

tests: $(TESTS) $(FUZZERS) $(TEST_SO) \
       $B/emulated/check $B/emulated/check_emulator

test:
	@deploy/packages.sh test
	@tests/run.sh $B

demo:
	@deploy/packages.sh demo
	@echo "demo: building (takes a minute the first time)"
	@$(MAKE) -s -j$$(nproc) all
	@deploy/demo.sh start $B

demo-stop:
	@deploy/demo.sh stop $B

gpu-check:
	@tests/gpu/run.sh $B

bench:
	deploy/packages.sh bench
	tests/bench/run.sh $B

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/include \
	    $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/share/seedpress/models
	install -m 755 $(PROGS) $(DESTDIR)$(PREFIX)/bin/
	install -m 644 client/seedpress.h $(DESTDIR)$(PREFIX)/include/
	install -m 755 $B/libseedpress.so $(DESTDIR)$(PREFIX)/lib/libseedpress.so.1
	ln -sf libseedpress.so.1 $(DESTDIR)$(PREFIX)/lib/libseedpress.so
	install -m 644 $B/libseedpress.a $(DESTDIR)$(PREFIX)/lib/
ifneq ($(CUDA_SO),)
	install -d $(DESTDIR)$(PREFIX)/lib/seedpress
	install -m 755 $(CUDA_SO) $(DESTDIR)$(PREFIX)/lib/seedpress/
endif
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' -e 's|@MSGPACK@|$(MSGPACK)|' \
	    client/seedpress.pc.in > $(DESTDIR)$(PREFIX)/lib/pkgconfig/seedpress.pc
	install -m 644 deploy/models/*.safetensors deploy/models/*.md deploy/models/*.png \
	    $(DESTDIR)$(PREFIX)/share/seedpress/models/

clean: demo-stop
	rm -rf $B

.PHONY: all tests test gpu-check demo demo-stop bench install clean
.SECONDARY:
.DELETE_ON_ERROR:
-include $(shell find $B -name '*.d' 2>/dev/null)
