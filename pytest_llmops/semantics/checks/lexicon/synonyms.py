"""Words that may stand for each other: a list of our own, of common words in answers about anything.

Groups end with ";" or the line; several words of one entry are joined by "_". A word may be in several groups. The list decides
which replaced words are harmless, so it holds what can stand in the same place without changing the facts, wider
words among them ("dog", "animal"), and never two members of one kind ("dog", "cat").
"""

from __future__ import annotations

from pytest_llmops.semantics.checks.lexicon.stems import stem_word

_GROUPS = """
united_states america american ; united_kingdom britain british ; european_union european
customer client shopper buyer purchaser consumer guest ; employee worker staff_member colleague team_member staff personnel
user person member people individual somebody someone anyone ; company firm business organization enterprise corporation employer
shop store retailer outlet ; product item article good merchandise piece unit ; order purchase
parcel package shipment delivery consignment ; refund reimbursement repayment money_back
return send_back give_back bring_back hand_back take_back ; refund reimburse repay pay_back ; receive get obtain gain collect
receipt delivery arrival ; buy purchase acquire ; deliver ship send dispatch post mail ; arrive reach come get_here ; arrive land
price cost charge fee rate ; cost amount_to come_to ; free free_of_charge gratis complimentary at_no_cost no_cost without_charge for_free
cheap inexpensive low-cost affordable ; expensive costly dear pricey ; discount reduction rebate price_cut money_off
bill invoice statement ; pay settle ; payment transfer ; salary wage pay pay_check earnings ; money fund cash ; bank lender
begin start commence launch get_going kick_off open ; end finish conclude complete terminate close ; stop halt cease
continue carry_on keep go_on proceed ; repair fix mend ; broken defective faulty damaged out_of_order ; error mistake fault bug
problem issue trouble difficulty ; solve resolve fix sort_out ; help assist support aid ; help assistance support aid
contact reach get_in_touch_with write_to call speak_to talk_to ; call phone ring telephone ; ask request inquire enquire
question query inquiry ; answer reply respond response ; tell inform notify let_know advise
say state mention note report declare announce ; show display present indicate demonstrate reveal ; explain describe set_out
need require call_for take ; require demand ; want wish would_like desire ; large big huge great substantial sizeable
small little tiny minor ; quick fast rapid swift speedy prompt ; quick fast soon
immediate at_once right_away straight_away instant without_delay ; slow gradual ; near close_to next_to beside by adjacent_to
far distant remote ; many a_lot_of lots_of numerous plenty_of a_large_number_of multiple several
several some a_few a_number_of various multiple ; enough sufficient adequate ; entire whole complete full total ; complete finish done
total overall altogether in_total in_all ; main primary principal chief major key central
important essential crucial vital significant key ; necessary needed required ; correct right accurate
right proper appropriate suitable fitting ; wrong incorrect false inaccurate ; true correct ; easy simple straightforward
hard difficult tough ; clear obvious evident plain ; strange odd unusual ; typical usual normal ordinary regular standard common
usual normally generally typically commonly in_general as_a_rule ordinarily ; often frequent many_times regularly
sometimes occasionally now_and_then at_times from_time_to_time ; rare seldom infrequently hardly_ever
always at_all_times constantly without_exception ; about around approximately roughly some nearly almost close_to
about regarding concerning on ; because since as due_to owing_to because_of thanks_to on_account_of
so therefore thus hence consequently as_a_result ; but however yet although though while whereas
if when whenever in_case provided_that as_long_as should in_the_event_of ; when once as_soon_as after ; while during whilst as
during in over throughout within ; within in inside ; until till up_to ; also too as_well in_addition additionally moreover plus and
and as_well_as along_with together_with with plus ; with using by_means_of via through by ; to in_order_to so_as_to so_that
for intended_for ; per a each every for_each ; each every all any ; all every entire whole ; both the_two two
like such_as for_example for_instance including ; include contain comprise consist_of cover feature ; consist_of be_made_of be_made_up_of
have own possess hold ; have contain include come_with ; use employ utilize apply ; use usage
make produce manufacture create build generate ; make prepare cook ; create set_up establish found form ; change alter modify adjust amend
change switch ; improve enhance better ; update refresh renew ; replace exchange swap substitute
remove delete take_out take_away erase take_off ; remove peel ; add put_in include ; put place set lay ; keep retain store save hold
store save ; choose select pick opt_for ; find locate discover spot ; look_for search seek ; search look ; see view look_at watch
check verify confirm examine inspect review ; test examine try ; try attempt ; allow permit let authorize enable ; allowed permitted able
forbid prohibit ban bar disallow ; prevent stop avoid keep_from block ; accept take ; reject refuse decline turn_down deny
approve accept authorize sign_off ; cancel call_off ; postpone put_off delay defer push_back ; book reserve set_aside
booking reservation ; trip journey travel tour ; travel go ; car vehicle automobile auto ; truck lorry vehicle ; bus coach
bike bicycle cycle ; plane aircraft airplane aeroplane jet airliner ; ship boat vessel ; boat canoe kayak ; train rail railway
street road ; way route path road ; track rail ; house home ; house building ; flat apartment ; room chamber ; lift elevator
pavement sidewalk ; holiday vacation leave time_off break ; doctor physician ; medicine drug medication ; illness disease sickness
ill sick unwell ; patient sufferer ; hospital clinic ; child kid youngster ; child boy ; child girl ; boy guy ; baby infant child toddler
woman girl ; absence lack ; outside in_front_of ; teenager adolescent ; man guy gentleman male person ; woman lady female person
girl female young_woman lady ; boy male ; crowd group people ; group team bunch pack ; friend buddy pal ; mother mum mom ; father dad
parent guardian ; boss manager supervisor ; teacher instructor ; pupil student ; lawyer attorney ; police officer policeman cop
law legislation statute ; rule regulation policy ; contract agreement ; agree consent ; agreement consent approval permission
landlord owner ; tenant renter ; begin open ; job position role post ; work job ; work operate function run ; operate run ; task job duty
meeting appointment ; plan scheme ; aim goal objective target purpose ; reason cause ground ; cause lead_to result_in bring_about trigger
result outcome consequence ; effect impact ; affect influence ; increase rise grow go_up climb raise ; increase growth rise
decrease fall drop decline go_down reduce shrink ; reduce lower cut decrease ; reduction decrease cut decline drop ; double twofold
exceed be_more_than go_over surpass ; last take run ; time period duration ; time moment ; time occasion ; deadline due_date time_limit
date day ; daily every_day each_day per_day a_day ; weekly every_week each_week per_week a_week
monthly every_month each_month per_month a_month ; yearly annual every_year each_year per_year a_year annually ; annual yearly
soon shortly before_long ; now currently at_present at_the_moment presently today ; former previous earlier prior
later subsequently afterwards afterward after ; before prior_to ahead_of ; after following ; next following
finally eventually in_the_end lastly ; first initially at_first ; new recent fresh ; new brand-new unused ; old aged elderly ; old ancient
modern current up-to-date ; same identical ; different other another distinct ; other another additional further
extra additional further more ; more additional ; information detail data ; document file paper ; form sheet ; letter mail ; message note
email mail ; website site web_page page ; web internet online ; app application program ; application request ; software program
password passcode ; account profile ; log_in sign_in log_on ; log_out sign_out ; click press tap select hit push ; button key
screen display monitor ; phone telephone mobile smartphone handset ; computer pc machine laptop ; device gadget machine
picture image photo photograph ; video film clip ; film movie ; music song ; book volume ; chapter section part
part section portion piece ; list table ; amount sum quantity ; number figure count amount ; share portion percentage proportion part
limit cap maximum ceiling ; maximum max upper_limit ; minimum min lower_limit ; level degree ; size dimension ; area region zone
place location spot site ; city town ; country nation state ; world globe earth ; north northern ; south southern ; east eastern
west western ; top upper ; bottom lower ; front forward ; edge side border ; corner edge ; hill mountain slope ; sea ocean ; river stream
beach shore coast ; ocean wave ; forest wood ; tree bush ; plant flower ; field meadow pasture ; grass field lawn ; yard garden backyard
snow ice ; rain shower ; sun sunshine ; weather climate ; hot warm ; cold cool chilly ; wet damp moist ; dry arid ; water liquid
food meal dish ; eat have consume ; eat feed_on ; eat chew ; drink beverage ; cook fry ; cut slice chop ; cut trim ; slice chop dice
slice piece ; mix stir blend combine ; mix whisk ; pour put ; oven stove ; pan pot skillet ; pot bowl ; bowl dish ; potato vegetable
carrot vegetable ; onion vegetable ; meat beef ; meat pork ; meat chicken ; dog puppy animal pup ; cat kitten animal ; horse animal
cow animal ; bird animal ; animal creature ; monkey animal ; guitar instrument ; flute instrument ; piano instrument ; violin instrument
drum instrument ; play perform ; sport game ; game match ; play game ; football soccer ; ball soccer_ball ; player sportsman
bike motorcycle ; motorcycle motorbike ; rider cyclist ; race compete ; run jog ; run race ; walk stroll ; walk hike ; walk go ; jump leap
jump hop ; climb scale ; ride drive ; ride cycle ; drive steer ; fly glide ; sit be_seated rest ; sit perch ; stand wait ; stand pose
stand be ; lie lay rest ; lie sit ; lie sleep ; sleep rest nap ; smile grin laugh ; laugh giggle ; talk speak chat converse ; talk discuss
shout yell scream ; sing perform ; dance perform ; hug embrace ; kiss embrace ; hold carry ; hold grip ; carry transport ; throw toss
throw pitch ; hit strike ; fight wrestle ; push shove ; pull drag tow ; touch stroke ; open unlock ; shut close
wear dress_in dressed_in have_on ; clothes clothing outfit garment dress ; shirt top ; coat jacket ; trousers pants jeans ; hat cap
shoe boot ; couch sofa settee ; chair seat ; bench seat ; table desk ; kitchen room ; bed mattress ; white pale ; red crimson ; dark black
brown tan ; golden yellow blonde ; gold golden ; gray silver ; strong powerful ; weak feeble ; safe secure ; danger risk hazard
dangerous risky hazardous unsafe ; risk chance ; likely probable ; maybe perhaps possibly ; probably likely ; certainly definitely surely
quite rather fairly ; very extremely really highly ; even still ; still yet ; just only merely simply ; only solely exclusively just
alone on_its_own by_oneself ; especially particularly above_all in_particular ; mainly mostly primarily chiefly largely
mostly for_the_most_part largely ; partly in_part partially ; wholly completely fully entirely totally
completely fully entirely totally altogether ; directly straight ; again once_more anew ; back backwards ; together jointly
must have_to need_to required obliged ; must have_to need_to shall ; should ought_to ; can may able allowed permitted ; can could
may might could ; will going_to ; seem appear look ; become get turn ; believe think ; think consider ; know be_aware_of ; remember recall
forget overlook ; understand grasp ; learn study ; teach train instruct ; decide determine ; determine set ; depend_on rely_on
base_on rest_on ; happen occur take_place ; exist be ; remain stay be_left ; leave depart ; leave exit ; enter go_into come_in
go head move ; move shift ; move relocate ; follow obey comply_with ; break violate breach ; protect guard shield ; cover protect
attack assault ; kill slay ; die pass_away ; born birth ; live reside dwell ; resident inhabitant ; population inhabitant
government administration ; president head ; leader head chief ; rule govern ; win triumph ; victory win ; lose be_defeated ; defeat beat
compete take_part ; take_part participate ; attend take_part ; attend go_to ; vote ballot ; join enter ; join connect
connect link attach ; separate split divide ; share divide ; spread distribute ; supply provide give offer ; provide give offer
give hand ; grant give award ; award prize ; offer propose ; suggest propose recommend ; recommend advise ; advice recommendation
warn alert ; alert warning ; publish release issue ; release launch ; author writer ; write compose ; write draft ; paint draw
build construct erect ; construction building ; design plan ; fill load ; fill complete ; empty clear ; clean wash ; clean clear
measure gauge ; calculate compute work_out ; estimate guess ; compare contrast ; grow develop ; develop evolve ; method way approach
process procedure ; procedure operation ; operation surgery ; step stage phase ; kind type sort ; kind form ; example instance
case instance ; case situation ; situation circumstance ; condition state ; condition term ; feature function ; quality standard
value worth ; worth value ; benefit advantage ; drawback disadvantage ; profit gain ; loss deficit ; debt loan ; loan credit
interest rate ; tax duty ; tax levy ; insurance cover ; claim demand ; claim say ; valid good ; expire run_out lapse ; validity term
proof evidence ; certificate document ; licence permit ; permit permission ; signature sign ; sign symbol ; mark sign ; name title
name call ; call name ; known called ; known_as called ; ticket pass ; card pass ; key code ; code number ; seat place ; space room
air atmosphere ; light lamp ; light bright ; heavy weighty ; long lengthy ; short brief ; wide broad ; thin slim ; thick fat
deep profound ; high tall ; loud noisy ; quiet silent ; beautiful pretty lovely ; pretty cute ; nice pleasant ; happy glad pleased
sad unhappy ; angry furious ; tired weary ; afraid scared ; rich wealthy ; poor needy ; famous well-known ; public open ; private personal
own personal ; official formal ; local regional ; foreign overseas abroad ; abroad overseas ; international worldwide global
outside outdoors ; inside indoors ; upstairs above ; along down ; across over ; onto on ; upon on ; on in ; at in ; on at ; over on
near by ; into in ; toward to ; against at ; of from ; behind after ; among between ; around round ; amid among ; throughout across
beneath under below ; above over ; who that which ; which that ; where that ; everyone everybody ; everyone all ; nobody no_one
setting preference option configuration ; preference choice ; reply get_back ; answer get_back ; convert transform turn
include involve comprise ; involve entail ; leash lead ; apologize be_sorry ; sorry unfortunately ; trouble inconvenience bother
ensure make_sure guarantee ; guarantee warranty ; forget leave_behind ; fill_out fill_in complete ; hand_in submit turn_in ; submit send
apply request ; enrol register sign_up ; subscribe sign_up ; unsubscribe opt_out ; attach enclose ; obtain acquire get
acquire purchase buy ; own have ; lead head run ; manage handle run ; handle deal_with ; oversee supervise monitor ; monitor track watch
track follow ; notice observe spot see ; observe watch ; recognize identify ; identify detect ; detect discover find
discover find_out learn ; gather collect assemble ; assemble put_together build ; install set_up ; configure set_up ; settle resolve
arrange organize ; organize plan ; prepare get_ready ; practise train exercise ; perform carry_out do conduct ; conduct carry_out run
execute run ; implement carry_out ; accomplish achieve reach ; achieve attain ; fulfil meet satisfy ; meet satisfy ; encounter meet face
face confront ; experience go_through undergo ; suffer undergo ; endure bear ; tolerate withstand stand ; resist withstand ; support back
support hold ; encourage motivate ; persuade convince ; urge press ; insist demand ; order command ; instruct tell ; mention refer_to
refer_to mean ; mean signify ; imply suggest ; indicate suggest ; prove demonstrate show ; illustrate show ; reflect show ; express voice
discuss talk_about ; argue claim ; admit acknowledge ; acknowledge confirm ; deny dispute ; ignore disregard ; neglect overlook
omit leave_out skip ; avoid steer_clear_of ; escape flee ; arrest detain ; release free ; rescue save ; recover get_back
recover heal get_better ; cure heal ; treat care_for ; care_for look_after ; feed nourish ; grow raise ; breed raise ; harvest pick
gather pick ; drop let_fall ; lift raise ; lower bring_down ; extend lengthen prolong ; extend expand ; expand enlarge ; enlarge magnify
shorten cut ; narrow tighten ; tighten fasten ; fasten secure attach ; attach fix ; loosen undo ; bend fold ; fold crease ; tear rip
crack split ; crush press ; melt thaw ; defrost thaw ; grill barbecue ; fry saute ; season flavour ; taste flavour ; smell odour scent
sound noise ; hear listen ; quiet calm ; calm peaceful ; relax rest ; worry be_concerned ; hope expect ; expect anticipate
predict forecast ; plan intend ; intend mean ; attempt effort ; effort work ; struggle fight ; compete contest ; challenge dispute
challenge difficulty ; risk threat ; threat danger ; harm damage hurt ; hurt injure wound ; injury wound ; destroy ruin wreck
demolish tear_down knock_down ; collapse fall_down ; crash collide ; crash accident collision ; accident incident ; incident event
event occasion ; celebration party ; ceremony celebration ; speech address talk ; lecture talk ; lesson class ; course class
class category ; category group ; exam test ; grade mark ; degree qualification ; skill ability ; ability capacity capability
capacity volume ; talent gift ; knowledge expertise ; expert specialist ; specialist consultant ; researcher scientist
engineer technician ; developer programmer ; clerk assistant ; assistant helper ; nurse carer ; soldier trooper ; sailor seaman
pilot aviator ; driver motorist ; cyclist biker ; pedestrian walker ; passenger traveller ; traveller tourist visitor ; visitor guest
tourist holidaymaker ; crew staff ; audience spectator ; spectator viewer onlooker ; witness observer ; criminal offender
thief burglar robber ; victim casualty ; judge magistrate ; court tribunal ; trial hearing ; sentence penalty punishment ; penalty fine
crime offence ; verdict ruling judgment decision ; ruling decision ; decree order ; clause provision ; provision term ; appendix annex
paragraph passage ; summary overview ; outline overview ; report account ; story tale ; article piece ; journalist reporter
newspaper paper ; magazine journal ; headline title ; poll survey ; survey study ; study research investigation
investigate look_into examine ; investigation inquiry ; experiment test trial ; sample specimen ; evidence proof ; finding result
conclusion result ; theory hypothesis ; idea concept notion ; opinion view ; view sight ; attitude stance position ; belief conviction
doubt uncertainty ; fear dread ; anger rage ; joy happiness ; sorrow grief ; pain ache ; flu influenza ; injection shot jab ; vaccine jab
pill tablet ; tablet capsule ; dose dosage ; symptom sign ; therapy treatment ; diet nutrition ; exercise workout ; gym fitness_centre
pool swimming_pool ; stadium arena ; coach trainer ; referee umpire ; draw tie ; championship title ; tournament competition
competition contest ; league division ; captain skipper ; fan supporter ; supporter follower ; opponent rival ; enemy foe ; ally partner
partner associate ; spouse partner ; couple pair ; relative family_member ; neighbour resident ; citizen national ; immigrant migrant
refugee asylum_seeker ; capital main_city ; village settlement ; suburb outskirts ; district quarter area neighbourhood
neighbourhood area ; motorway highway freeway ; crossing intersection junction ; roundabout traffic_circle ; traffic_light light
underground subway metro ; tram streetcar ; taxi cab ; luggage baggage ; suitcase bag ; ticket fare ; fare price ; timetable schedule
schedule plan ; schedule set fix ; delay wait ; queue line ; entrance way_in ; exit way_out ; stair step
floor storey level ; curtain blind ; carpet rug ; cupboard cabinet closet ; drawer compartment ; fridge refrigerator ; freezer deep_freeze
tap faucet ; bath tub ; toilet restroom bathroom lavatory ; soap detergent ; towel cloth ; rubbish garbage trash waste
bin dustbin trash_can ; recycle reuse ; pollution contamination ; dirt soil earth ; mud dirt ; stone rock ; sand grit ; dust powder
wooden timber ; fabric cloth material ; leather hide ; rope cord string ; wire cable ; plug socket ; battery cell ; engine motor
petrol gasoline gas fuel ; window pane ; lock bolt ; tool implement ; knife blade ; fork cutlery ; cup mug ; plate dish ; bottle flask
can tin ; box container case ; bag sack ; basket hamper ; parcel box ; gift present ; prize reward ; reward award ; bonus premium
pension retirement_pay ; budget funds ; cost expense ; expense spending ; income revenue earnings ; profit earnings ; turnover sales
share stock ; stock inventory ; investor shareholder ; merger fusion ; takeover acquisition ; branch office ; headquarters head_office
factory plant ; workshop garage ; farm ranch ; farmer grower ; crop harvest ; vegetable veg ; bread loaf ; cake pastry ; biscuit cookie
sweet candy ; chips fries ; crisps chips ; prawn shrimp ; aubergine eggplant ; courgette zucchini ; coriander cilantro ; maize corn
soya soy ; autumn fall ; dawn sunrise ; dusk sunset ; midday noon ; holiday day_off ; anniversary jubilee ; era age period ; century age
moment instant ; shortly in_a_moment ; recently lately ; formerly previously ; nowadays today ; currently presently
constantly continually ; gradually slowly ; suddenly abruptly ; exactly precisely ; nearly almost ; hardly barely scarcely ; mostly mainly
partly partially ; entirely wholly ; especially notably ; obviously clearly ; apparently seemingly ; allegedly reportedly
fortunately luckily ; sadly unfortunately ; honestly frankly ; therefore thus ; nevertheless nonetheless still ; despite in_spite_of
regardless_of no_matter ; instead rather ; according_to as_per ; towards to ; concerning about ; via through ; per each ; amid during
beyond past ; opposite across_from ; inside within ; alongside next_to ; successful effective ; effective efficient ; useful helpful
helpful supportive ; valuable precious ; reliable dependable ; honest truthful ; loyal faithful ; brave courageous
clever smart intelligent bright ; stupid foolish ; wise sensible ; funny amusing ; serious grave severe ; severe harsh ; strict rigid
flexible adaptable ; gentle soft ; rough coarse ; smooth even ; sharp keen ; steep sheer ; flat level ; round circular
square rectangular ; huge enormous vast immense ; tiny minute ; narrow thin ; broad wide ; tall high ; short small ; ancient very_old
modern contemporary ; recent latest ; current present ; future upcoming ; previous last ; temporary short-term ; permanent lasting
lasting long-term ; sudden abrupt ; constant steady ; steady stable ; stable firm ; certain sure ; possible feasible ; available on_offer
available free ; ready prepared ; busy occupied ; empty vacant ; full packed ; crowded packed ; popular well-liked ; unique one-of-a-kind
special particular ; particular specific ; specific certain ; general overall ; average mean ; average typical ; maximum highest
minimum lowest ; extra spare ; spare replacement ; single unmarried ; married wed ; pregnant expecting ; dead deceased ; alive living
native local ; domestic national ; domestic household ; global worldwide ; urban city ; coastal seaside ; polar arctic ; animal beast
insect bug ; snake serpent ; energy power ; power electricity ; electricity current ; heat warmth ; light illumination
speed pace velocity ; distance range ; weight mass ; height altitude ; length duration ; width breadth ; force strength ; strength power
source origin ; origin beginning ; start launch ; growth increase ; decline fall ; trend tendency ; pattern design ; structure form
layout arrangement ; shape form ; colour shade ; image picture ; chart graph diagram ; map plan ; symbol icon ; letter character
word term ; phrase expression ; sentence line ; language tongue ; translation version ; version edition release ; copy duplicate
original first ; backup copy ; folder directory ; file record ; record entry ; entry item ; database data_store ; server host
network web ; link url ; print output ; scan read ; enter input ; delete remove ; paste insert ; insert add ; edit change ; undo reverse
restart reboot ; shut_down turn_off ; turn_off switch_off ; turn_on switch_on ; log record ; crash fail ; freeze hang ; bug defect
patch fix ; upgrade update ; developer engineer ; tester reviewer ; review check ; review evaluate ; evaluate assess rate ; assess judge
rate rank ; rank place
return respond ; expire end ; novel book ; poem verse ; song tune track ; field box ; carry bear ; take_effect come_into_force apply
"""

_GROUP_NUMBERS: dict[str, set[int]] = {}
PHRASES: dict[str, list[tuple[str, ...]]] = {}
"""First stem -> the phrases that begin with it, longest first."""
for _number, _line in enumerate(_GROUPS.replace("\n", ";").split(";")):
    for _entry in _line.split():
        _words = tuple(stem_word(word) for word in _entry.split("_"))
        _GROUP_NUMBERS.setdefault(" ".join(_words), set()).add(_number)
        if len(_words) > 1 and _words not in PHRASES.setdefault(_words[0], []):
            PHRASES[_words[0]].append(_words)
for _phrases in PHRASES.values():
    _phrases.sort(key=len, reverse=True)


def are_synonyms(word: str, other_word: str) -> bool:
    """May the one stand for the other? Both as stems, words of a phrase with a blank between them.

    >>> are_synonyms("buy", "purchas"), are_synonyms("get in touch with", "contact"), are_synonyms("dog", "cat")
    (True, True, False)
    """
    return word == other_word or not _GROUP_NUMBERS.get(word, _NO_GROUPS).isdisjoint(
        _GROUP_NUMBERS.get(other_word, _NO_GROUPS)
    )


_NO_GROUPS: frozenset[int] = frozenset()
